"""Figures of a benchmark: shares, means of shares, pairs and cycles, with counts where there are any.

A share has a count and so an interval. A mean of shares, or over cycles of one question, has none: its items
do not weigh the same, or are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentvr.data.printable import printable
from latentvr.errors import UserError
from latentvr.evaluation.metrics import Prediction, wilson

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("measure", "%", "k/N", "95 % interval", "no answer")


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        name: what it is of.
        value: in percent.
        correct: right items, where the value is a share of items.
        total: all of them.
        failures: items without an answer, which count as wrong; None where parts do not know theirs.
    """

    name: str
    value: float
    correct: int | None = None
    total: int | None = None
    failures: int | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval in percent; None for what is no share of items."""
        if self.correct is None or not self.total:
            return None
        low, high = wilson(self.correct, self.total)
        return 100 * low, 100 * high

    def to_json(self) -> dict[str, Any]:
        """Give the figure as JSON values; the interval is a list of two numbers, or null."""
        return {
            "name": self.name,
            "value": self.value,
            "correct": self.correct,
            "total": self.total,
            "failures": self.failures,
            "interval": list(self.interval) if self.interval else None,
        }


def share(name: str, predictions: Sequence[Prediction]) -> Measure:
    """Share of right predictions, each with the same weight (micro average).

    Args:
        name: of the figure.
        predictions: of any tasks.

    Returns:
        The share with its counts.

    Raises:
        UserError: there are no predictions.
    """
    _require(predictions, name)
    return _counted(
        name, sum(p.correct for p in predictions), len(predictions), sum(p.failed for p in predictions)
    )


def mean_of(name: str, parts: Sequence[Measure]) -> Measure:
    """Mean of figures, each with the same weight (macro average).

    Args:
        name: of the figure.
        parts: such as the shares of tasks.

    Returns:
        The mean; no counts but for the failures of all parts.

    Raises:
        UserError: there are no parts.
    """
    _require(parts, name)
    failures = [part.failures for part in parts if part.failures is not None]
    return Measure(
        name,
        sum(part.value for part in parts) / len(parts),
        failures=sum(failures) if len(failures) == len(parts) else None,
    )


def pairs(name: str, predictions: Sequence[Prediction], couples: Mapping[str, str]) -> Measure | None:
    """Share of pairs of which both predictions are right (MMVP's pair accuracy).

    Args:
        name: of the figure.
        predictions: in any order.
        couples: the pair of each prediction, by its id; in MMVP questions 2i-1 and 2i are one.

    Returns:
        The share of the pairs that are complete, which `total` counts; a pair of which one prediction is
        missing is left out. None where no pair is complete.

    Raises:
        UserError: there are no predictions, one is in no pair, or a pair has more than two.
    """
    groups = _grouped(name, predictions, couples)
    crowded = [couple for couple, group in groups.items() if len(group) > 2]
    if crowded:
        raise UserError(
            f"expected two predictions in a pair, got {len(groups[crowded[0]])} in {crowded[0]!a}, "
            f"at {name}; fix: score each question once"
        )
    whole = [group for group in groups.values() if len(group) == 2]
    if not whole:
        return None
    right = sum(all(p.correct for p in group) for group in whole)
    return _counted(name, right, len(whole), sum(any(p.failed for p in group) for group in whole))


def cyclic(name: str, predictions: Sequence[Prediction], cycles: Mapping[str, str]) -> Measure:
    """Mean over groups of the share of right predictions in each (HR-Bench's cyclic orders of options).

    Args:
        name: of the figure.
        predictions: in any order.
        cycles: the group of each prediction, by its id.

    Returns:
        The mean, without counts: the same question in several orders is not several independent ones.

    Raises:
        UserError: there are no predictions, or one is in no group.
    """
    return mean_of(name, [share(name, group) for group in _grouped(name, predictions, cycles).values()])


def rows(measures: Sequence[Measure]) -> list[tuple[str, ...]]:
    """Write figures as rows below `HEADER`."""
    return [_cells(measure) for measure in measures]


def table(measures: Sequence[Measure], title: str = "") -> Table:
    """Draw figures for a terminal."""
    from rich.table import Table
    from rich.text import Text

    out = Table(title=Text(printable(title)) if title else None)
    for i, name in enumerate(HEADER):
        out.add_column(name, justify="right" if i else "left", no_wrap=bool(i))
    for row in rows(measures):
        out.add_row(*(Text(printable(cell)) for cell in row))
    return out


def _cells(measure: Measure) -> tuple[str, ...]:
    interval = measure.interval
    return (
        measure.name,
        f"{measure.value:.2f}",
        "" if measure.correct is None else f"{measure.correct}/{measure.total}",
        f"{interval[0]:.1f} to {interval[1]:.1f}" if interval else "",
        "" if measure.failures is None else str(measure.failures),
    )


def _counted(name: str, correct: int, total: int, failures: int) -> Measure:
    return Measure(name, 100 * correct / total, correct, total, failures)


def _grouped(
    name: str, predictions: Sequence[Prediction], groups: Mapping[str, str]
) -> dict[str, list[Prediction]]:
    _require(predictions, name)
    lost = next((p.id for p in predictions if p.id not in groups), None)
    if lost is not None:
        raise UserError(
            f"expected a group for each prediction, got none for {lost!a}, at {name}; "
            "fix: score predictions with the benchmark that they were made on"
        )
    out: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        out.setdefault(groups[prediction.id], []).append(prediction)
    return out


def _require(items: Sequence[Prediction] | Sequence[Measure], name: str) -> None:
    if not items:
        raise UserError(
            f"expected at least one prediction, got none, at {name}; fix: evaluate a split that has records"
        )
