"""The library's own rows: the fields of `Record`, closed."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, cast

from latentvr.data.prompt import build_prompt
from latentvr.data.readers.fields import Place, boxes, shown, text, texts, wrong
from latentvr.data.readers.validation import MAX_CHOICES
from latentvr.data.record import AnswerType, Record

KEYS = tuple(field.name for field in dataclasses.fields(Record))


def from_row(row: Mapping[str, Any], place: Place) -> Record:
    """Make a record; a missing prompt is built from the question and the choices.

    Args:
        row: the row.
        place: where the row is.

    Returns:
        The record, not yet validated.

    Raises:
        RecordError: an unknown key, a missing or wrong value.
    """
    for key in row:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, 1)
            fix = f'did you mean "{close[0]}"' if close else 'put it into "meta"'
            raise wrong(f"keys of {', '.join(KEYS)}", shown(key), place, fix)
    choices = texts(row, "choices", place)
    question = _optional(row, "question", place)
    return Record(
        id=text(row, "id", place),
        task=text(row, "task", place),
        split=text(row, "split", place),
        images=texts(row, "images", place),
        prompt=_optional(row, "prompt", place) or _built(question, choices, place),
        answer=text(row, "answer", place),
        answer_type=cast(AnswerType, text(row, "answer_type", place, default="text")),
        question=question,
        choices=choices,
        bboxes=boxes(row, place),
        response=_optional(row, "response", place),
        meta=_meta(row, place),
    )


def _optional(row: Mapping[str, Any], key: str, place: Place) -> str:
    """Take a string that may be missing or empty."""
    return "" if row.get(key) == "" else text(row, key, place, default="")


def _built(question: str, choices: tuple[str, ...], place: Place) -> str:
    if not question:
        raise wrong('a "prompt" or a "question"', "neither", place, "write one of them")
    if len(choices) > MAX_CHOICES:
        raise wrong(f"at most {MAX_CHOICES} choices", str(len(choices)), place, "drop some")
    return build_prompt(question, choices)


def _meta(row: Mapping[str, Any], place: Place) -> dict[str, Any]:
    value = row.get("meta")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong('an object "meta"', shown(value), place, "write meta as key and value")
    return value
