"""Predictions with the records that they belong to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from latentvr.data.record import Record
from latentvr.errors import UserError
from latentvr.evaluation.measures import Measure, share
from latentvr.evaluation.metrics import Prediction


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


def by_task(pairs: Sequence[Predicted]) -> dict[str, list[Prediction]]:
    """Group predictions by task, in the order in which the tasks first occur."""
    groups: dict[str, list[Prediction]] = {}
    for pair in pairs:
        groups.setdefault(pair.record.task, []).append(pair.prediction)
    return groups


def complete(records: Sequence[Record], pairs: Sequence[Predicted], tasks: Collection[str]) -> bool:
    """Whether each of these tasks has records, and each of their records a prediction."""
    wanted = [record.task for record in records if record.task in tasks]
    there = [pair.record.task for pair in pairs if pair.record.task in tasks]
    return len(wanted) == len(there) and set(wanted) == set(tasks)


def shares(groups: dict[str, list[Prediction]]) -> list[Measure]:
    """Share of right answers of each group, under its own name."""
    return [share(name, group) for name, group in groups.items()]
