"""LLaVA rows: {"id", "image", "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}.

Rows for training on regions have "bboxes" beside them, a gpt turn that marks the regions and wraps the
answer, "<answer> red </answer>", and often "dataset" and "question_id".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from latentvr.data.readers.fields import MARK, Place, image_names, shown, text, wrong
from latentvr.data.readers.foreign import foreign_record
from latentvr.data.record import Record

_WRAPPED = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)


def from_row(row: Mapping[str, Any], place: Place) -> Record:
    """Make a record of one human turn and one gpt turn.

    One newline directly after an image mark belongs to the mark and goes. The answer is the text of the
    last pair of answer tags, and the response then the whole turn; without tags the turn is the answer.

    Args:
        row: the row.
        place: where the row is.

    Returns:
        The record, not yet validated.

    Raises:
        RecordError: other turns, boxes without answer tags, plain boxes that do not fit several images,
            or wrong values.
    """
    question, turn = _turns(row, place)
    wrapped = _WRAPPED.findall(turn)
    if row.get("bboxes") and not wrapped:
        expected = "a gpt turn with <answer> … </answer> beside bboxes"
        raise wrong(expected, shown(turn), place, "put the answer between these tags, or drop the bboxes")
    answer, response = (wrapped[-1].strip(), turn) if wrapped else (turn, "")
    used = ["conversations"]
    changed = {**row, "bboxes": _numbered_boxes(row, place)}
    if row.get("dataset") is not None:
        name = text(row, "dataset", place)
        place = replace(place, task=name, group=name)
        used.append("dataset")
    if row.get("id") is None:
        changed["id"] = _question_id(row, place)
        used.append("question_id")
    prompt = question.replace(f"{MARK}\n", MARK)
    return foreign_record(changed, place, prompt, answer, tuple(used), response)


def _turns(row: Mapping[str, Any], place: Place) -> tuple[str, str]:
    turns = row.get("conversations")
    if not isinstance(turns, list) or not all(_is_turn(turn) for turn in turns):
        expected = 'a list "conversations" of turns with "from" and "value"'
        raise wrong(expected, shown(turns), place, "write the turns in LLaVA's form")
    speakers = [turn["from"] for turn in turns]
    if speakers != ["human", "gpt"]:
        expected = "one human turn and then one gpt turn"
        raise wrong(expected, shown(speakers), place, "make one row of each question and its answer")
    return turns[0]["value"], turns[1]["value"]


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("from", "value"))


def _numbered_boxes(row: Mapping[str, Any], place: Place) -> object:
    """Give plain boxes of several images the numbers of their images; leave all else to the box reader."""
    value, images = row.get("bboxes"), len(image_names(row, place))
    if not isinstance(value, list) or images < 2:
        return value
    plain = [item for item in value if isinstance(item, list)]
    if not plain:
        return value
    if len(plain) != images or len(value) != images:
        expected = f"one plain box for each of {images} images, or numbered boxes alone"
        got = f"{len(plain)} plain boxes and {len(value) - len(plain)} others"
        raise wrong(expected, got, place, 'write {"image": k, "box": [x0, y0, x1, y1]}, counting from 0')
    return [{"image": k, "box": item} for k, item in enumerate(value)]


def _question_id(row: Mapping[str, Any], place: Place) -> str | None:
    value = row.get("question_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None if value is None else text(row, "question_id", place)
