"""LLaVA rows: {"id", "image", "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentvr.data.readers.fields import Place, shown, wrong
from latentvr.data.readers.foreign import foreign_record
from latentvr.data.record import Record


def from_row(row: Mapping[str, Any], place: Place) -> Record:
    """Make a record of one human turn and one gpt turn.

    Args:
        row: the row.
        place: where the row is.

    Returns:
        The record, not yet validated.

    Raises:
        RecordError: other turns, or wrong values.
    """
    turns = row.get("conversations")
    if not isinstance(turns, list) or not all(_is_turn(turn) for turn in turns):
        expected = 'a list "conversations" of turns with "from" and "value"'
        raise wrong(expected, shown(turns), place, "write the turns in LLaVA's form")
    speakers = [turn["from"] for turn in turns]
    if speakers != ["human", "gpt"]:
        expected = "one human turn and then one gpt turn"
        raise wrong(expected, shown(speakers), place, "make one row of each question and its answer")
    return foreign_record(row, place, turns[0]["value"], turns[1]["value"], ("conversations",))


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("from", "value"))
