"""Predictions with the records that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from latentvr.data.record import Record
from latentvr.errors import UserError
from latentvr.evaluation.measures import Measure, share
from latentvr.evaluation.metrics import Prediction

#: Name of the one figure that any part of a benchmark has.
PART = "all answered (part)"


@dataclass(frozen=True)
class Predicted:
    """A record and what was answered.

    Attributes:
        record: what was asked.
        prediction: the answer, judged.
    """

    record: Record
    prediction: Prediction


def joined(records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Predicted]:
    """Put predictions beside their records.

    Args:
        records: with distinct ids.
        predictions: at most one for each record.

    Returns:
        The pairs in the order of the records; a record without a prediction is left out.

    Raises:
        UserError: there is no prediction, one of an unknown record, or two of one record.
    """
    made = {prediction.id: prediction for prediction in predictions}
    unknown = set(made) - {record.id for record in records}
    if unknown or len(made) != len(predictions) or not made:
        got = "none" if not made else f"{min(unknown)!a} of no record" if unknown else "two of one record"
        raise UserError(
            f"expected at most one prediction for each record and at least one in all, got {got}, "
            "at scoring a benchmark; fix: score predictions with the benchmark that they were made on"
        )
    return [Predicted(record, made[record.id]) for record in records if record.id in made]


def task_of(record: Record) -> str:
    """The task, to group by."""
    return record.task


def complete(
    records: Sequence[Record], pairs: Sequence[Predicted], group_of: Callable[[Record], str] = task_of
) -> dict[str, list[Prediction]]:
    """Group predictions, and keep the groups that say something of the whole.

    Args:
        records: all of the benchmark.
        pairs: of `joined`.
        group_of: gives the group of a record; its task by default.

    Returns:
        The groups of which each record has a prediction, in the order in which they first occur.
    """
    missing = {record.id for record in records} - {pair.record.id for pair in pairs}
    part = {group_of(record) for record in records if record.id in missing}
    groups: dict[str, list[Prediction]] = {}
    for pair in pairs:
        if (name := group_of(pair.record)) not in part:
            groups.setdefault(name, []).append(pair.prediction)
    return groups


def pooled(groups: dict[str, list[Prediction]], names: Collection[str]) -> list[Prediction] | None:
    """Put groups together; None where one of them is missing or not complete."""
    if not all(name in groups for name in names):
        return None
    return [prediction for name in names for prediction in groups[name]]


def whole(name: str, records: Sequence[Record], pairs: Sequence[Predicted]) -> list[Measure]:
    """The share under the benchmark's name where all of it was answered; else nothing."""
    if len(pairs) < len(records):
        return []
    return [share(name, [pair.prediction for pair in pairs])]


def part(records: Sequence[Record], pairs: Sequence[Predicted]) -> list[Measure]:
    """The share of what was answered, under a name that claims no more, where that is not all."""
    if len(pairs) == len(records):
        return []
    return [share(PART, [pair.prediction for pair in pairs])]


def shares(groups: dict[str, list[Prediction]]) -> list[Measure]:
    """Share of right answers of each group, under its own name."""
    return [share(name, group) for name, group in groups.items()]
