"""What linear probes are asked to read: answers, boxes, counts, the right choice, entries of `meta`."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from latentvr.data.record import Record
from latentvr.evaluation.extract import expected_answer
from latentvr.evaluation.normal_text import normal_text

Measure = Literal["accuracy", "R2"]
Label = str | tuple[float, ...]
_MOST_VALUES = 20


@dataclass(frozen=True)
class Target:
    """One thing to read, record by record.

    Attributes:
        name: "answer", "box", "count", "class" or "meta." and a key.
        measure: "accuracy" where labels are classes, "R2" where they are numbers.
        labels: one for each record: its class, its numbers, or None where the record has none.
        absent: why no record has one, in words.
    """

    name: str
    measure: Measure
    labels: tuple[Label | None, ...]
    absent: str = "no record has it"


def targets(records: Sequence[Record]) -> list[Target]:
    """Collect everything that a probe can be asked about these records.

    - answer: the right answer in canonical form.
    - box: the first box as (centre x, centre y, width, height), normalised to its image.
    - count: the answer of records with `answer_type` "number", as a class.
    - class: the folded text of the right choice, in tasks whose choices differ between records; in others
      it says no more than the letter.
    - meta.KEY: each entry of `meta` that is a text or a whole number and has 2 to 20 values.

    Args:
        records: what was asked.

    Returns:
        The four named targets, also those that no record has, then the entries of `meta` in the order in
        which they first occur.

    Raises:
        RecordError: a record's own answer is none of its type.
    """
    return [
        Target("answer", "accuracy", tuple(expected_answer(record) for record in records)),
        Target("box", "R2", tuple(_box(record) for record in records), "no record has a box"),
        Target("count", "accuracy", _counts(records), "no record asks for a number"),
        Target("class", "accuracy", _choices(records), "no task has choices that differ between records"),
        *_entries(records),
    ]


def _box(record: Record) -> tuple[float, ...] | None:
    if not record.bboxes:
        return None
    x0, y0, x1, y1 = record.bboxes[0].box
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def _counts(records: Sequence[Record]) -> tuple[str | None, ...]:
    return _where(records, lambda record: record.answer_type == "number", expected_answer)


def _choices(records: Sequence[Record]) -> tuple[str | None, ...]:
    offered: dict[str, set[tuple[str, ...]]] = {}
    for record in records:
        offered.setdefault(record.task, set()).add(record.choices)
    return _where(
        records,
        lambda r: r.answer_type == "mcq" and bool(r.choices) and len(offered[r.task]) > 1,
        lambda r: normal_text(r.choices[string.ascii_uppercase.index(expected_answer(r))]),
    )


def _entries(records: Sequence[Record]) -> list[Target]:
    """Labels are texts; a key counts where each of its values is a text or a whole number."""
    found = []
    for key in dict.fromkeys(key for record in records for key in record.meta):
        values = [record.meta.get(key) for record in records]
        present = {value for value in values if isinstance(value, str | int)}
        scalar = all(value is None or isinstance(value, str | int) for value in values)
        if scalar and 2 <= len(present) <= _MOST_VALUES:
            labels = tuple(None if value is None else str(value) for value in values)
            found.append(Target(f"meta.{key}", "accuracy", labels))
    return found


def _where(
    records: Sequence[Record], applies: Callable[[Record], bool], label: Callable[[Record], str]
) -> tuple[str | None, ...]:
    return tuple(label(record) if applies(record) else None for record in records)
