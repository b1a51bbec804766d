"""What rows of foreign formats have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from latentvr.data.readers.fields import Place, boxes, image_names, shown, text, texts, wrong
from latentvr.data.record import AnswerType, Record

_FIELDS = ("id", "task", "split", "image", "images", "answer_type", "question", "choices", "bboxes", "meta")


def foreign_record(
    row: Mapping[str, Any],
    place: Place,
    prompt: str,
    answer: str,
    used: tuple[str, ...],
    response: str = "",
) -> Record:
    """Make a record of a row whose prompt and answer have been found.

    Fields that have our names are taken as ours; a missing id is made of file and row, an id of a known
    group is preceded by it, a missing task is the task of the place, and the split "val" is "validation".
    All other columns go to `Record.meta`, where rewards find them.

    Args:
        row: the row.
        place: where it is.
        prompt: with its image marks.
        answer: of the assistant.
        used: keys that the prompt and the answer came from.
        response: of the assistant, where it is more than the answer.

    Returns:
        The record, not yet validated.

    Raises:
        RecordError: a wrong value, or a blank prompt or answer.
    """
    for name, value in (("prompt", prompt), ("answer", answer)):
        if not value.strip():
            raise wrong(f"a non-empty {name}", "none", place, f"write the {name} or drop the row")
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else None
    if meta is None and row.get("meta") is not None:
        raise wrong('an object "meta"', shown(row["meta"]), place, "write meta as key and value")
    split = text(row, "split", place, default=place.split or "train")
    rest = {key: value for key, value in row.items() if key not in (*_FIELDS, *used)}
    return Record(
        id=_identity(row, place),
        task=text(row, "task", place, default=place.task),
        split="validation" if split == "val" else split,
        images=image_names(row, place),
        prompt=prompt,
        answer=answer,
        answer_type=cast(AnswerType, text(row, "answer_type", place, default="text")),
        question=text(row, "question", place, default=""),
        choices=texts(row, "choices", place),
        bboxes=boxes(row, place),
        response=response,
        meta={**rest, **(meta or {})},
    )


def _identity(row: Mapping[str, Any], place: Place) -> str:
    """Foreign ids are numbers now and then, and unique within their data set alone."""
    value = row.get("id")
    if value is None:
        return f"{place.file}:{place.row}"
    whole = isinstance(value, int) and not isinstance(value, bool)
    name = str(value) if whole else text(row, "id", place)
    return f"{place.group}/{name}" if place.group else name
