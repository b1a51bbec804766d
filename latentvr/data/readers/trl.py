"""TRL's conversational vision rows: "messages", "prompt" with "completion", or "prompt" for GRPO.

TRL describes them in its documentation under "Dataset formats". Contents are strings, or lists of parts
{"type": "image"} and {"type": "text", "text": …}; an image part becomes an `<image>` mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentvr.data.readers.fields import MARK, Place, shown, text, wrong
from latentvr.data.readers.foreign import foreign_record
from latentvr.data.record import Record

# Columns that hold the expected answer of a row without a completion, as TRL's rewards use them.
ANSWER_COLUMNS = ("answer", "solution")


def from_row(row: Mapping[str, Any], place: Place) -> Record:
    """Make a record of one user turn and one assistant turn.

    Args:
        row: the row.
        place: where the row is.

    Returns:
        The record, not yet validated.

    Raises:
        RecordError: other turns, unknown content parts, or wrong values.
    """
    if row.get("messages") is not None:
        messages, used = row["messages"], ("messages",)
        prompt, answer = _turns(messages, ("user", "assistant"), place)
        return foreign_record(row, place, prompt, answer, used)
    (prompt,) = _turns(row.get("prompt"), ("user",), place)
    if row.get("completion") is not None:
        (answer,) = _turns(row["completion"], ("assistant",), place)
        return foreign_record(row, place, prompt, answer, ("prompt", "completion"))
    column = next((name for name in ANSWER_COLUMNS if row.get(name) is not None), "answer")
    return foreign_record(row, place, prompt, text(row, column, place), ("prompt", column))


def _turns(messages: object, roles: tuple[str, ...], place: Place) -> list[str]:
    """Give the texts of messages that must have exactly these roles; a bare string is one message."""
    if isinstance(messages, str) and len(roles) == 1:
        return [messages]
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise wrong("a list of messages", shown(messages), place, "write messages with role and content")
    found = tuple(item.get("role") for item in messages)
    if found != roles:
        expected = f"messages of {' and then '.join(roles)} alone"
        raise wrong(expected, shown(list(found)), place, "make one row of each question and its answer")
    return [_content(item.get("content"), place) for item in messages]


def _content(content: object, place: Place) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong("content as a string or a list of parts", shown(content), place, "write TRL's form")
    return "".join(_part(part, place) for part in content)


def _part(part: object, place: Place) -> str:
    if isinstance(part, dict):
        if part.get("type") == "image":
            return MARK
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            return str(part["text"])
    raise wrong("a part of type image or text", shown(part), place, "write TRL's form")
