"""Accuracy with its count and its interval, per task and in total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from latentvr.data.printable import printable
from latentvr.data.record import Record
from latentvr.errors import UserError
from latentvr.evaluation.answer_rules import find_rule
from latentvr.evaluation.extract import unwrapped

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Prediction:
    """What a model answered to one record.

    Attributes:
        id: the record's id.
        task: the record's task.
        text: what the model wrote, unchanged.
        answer: the answer taken out of it, or None.
        expected: the record's answer in the same canonical form.
        correct: whether they agree; False where no answer was found.
        failed: no answer was found.
        latent_steps: hidden states that were fed back while it was written.
        rule: id of the rule that took the answer out of the text.
    """

    id: str
    task: str
    text: str
    answer: str | None
    expected: str
    correct: bool
    failed: bool
    latent_steps: int = 0
    rule: str = "native"

    def to_json(self) -> dict[str, Any]:
        """Give the prediction as JSON values."""
        return asdict(self)


def judge(record: Record, text: str, rule: str = "native") -> Prediction:
    """Score what a model wrote about a record.

    Args:
        record: what was asked.
        text: what the model wrote.
        rule: id of the rule that reads the text, one of `latentvr.evaluation.answer_rules.RULES`.

    Returns:
        The prediction; one without an answer is wrong.

    Raises:
        RecordError: the record's own answer is none of its type, or none that the rule can compare with.
        UserError: there is no such rule.
    """
    reader = find_rule(rule)
    # A model that was trained to write the tags would have no answer under rules that do not know them.
    read = text if reader.reads_tags else unwrapped(text)
    answer = reader.extract(read, record)
    return Prediction(
        id=record.id,
        task=record.task,
        text=text,
        answer=answer,
        expected=reader.expected(record),
        correct=reader.correct(read, record),
        failed=answer is None,
        rule=rule,
    )


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Give Wilson's score interval of a proportion (Wilson 1927, eq. for p with normal quantile z).

    Args:
        k: successes.
        n: trials.
        level: coverage, between 0 and 1.

    Returns:
        Lower and upper bound, between 0 and 1.

    Raises:
        UserError: not 0 <= k <= n, no trials, or the level is out of range.
    """
    if not (0 <= k <= n and n > 0 and 0 < level < 1):
        raise UserError(
            "expected 0 <= k <= n, n > 0 and 0 < level < 1, "
            f"got k={k}, n={n}, level={level}, at an interval; fix: score at least one prediction"
        )
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = k / n
    centre = p + z * z / (2 * n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The bounds are exact at 0 and 1; rounding must not move them.
    low = 0.0 if k == 0 else (centre - half) / scale
    high = 1.0 if k == n else (centre + half) / scale
    return low, high


@dataclass(frozen=True)
class Score:
    """How many predictions of a task are right.

    Attributes:
        task: its name.
        correct: right ones.
        total: all, failures included.
        failures: those without an answer, which count as wrong.
    """

    task: str
    correct: int
    total: int
    failures: int

    @property
    def accuracy(self) -> float:
        """Share of right predictions, between 0 and 1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.correct, self.total)


def by_task(predictions: Sequence[Prediction]) -> list[Score]:
    """Score each task, in the order in which the tasks first occur.

    Args:
        predictions: of any tasks, in any order.

    Returns:
        One score for each task.

    Raises:
        UserError: there are no predictions.
    """
    if not predictions:
        raise UserError(
            "expected at least one prediction, got none, at scoring; fix: evaluate a split that has records"
        )
    groups: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        groups.setdefault(prediction.task, []).append(prediction)
    return [
        Score(task, sum(p.correct for p in group), len(group), sum(p.failed for p in group))
        for task, group in groups.items()
    ]


def micro(scores: Sequence[Score], name: str = "all (micro)") -> Score:
    """Pool all tasks: every prediction counts the same."""
    return Score(
        name, sum(s.correct for s in scores), sum(s.total for s in scores), sum(s.failures for s in scores)
    )


def macro(scores: Sequence[Score]) -> float:
    """Mean of the tasks' accuracies: every task counts the same."""
    return sum(score.accuracy for score in scores) / len(scores)


def cells(score: Score) -> tuple[str, str, str, str, str]:
    """Write a score as task, accuracy in %, k/N, interval in % and number of failures."""
    low, high = score.interval
    return (
        score.task,
        f"{100 * score.accuracy:.1f}",
        f"{score.correct}/{score.total}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        str(score.failures),
    )


HEADER = ("task", "accuracy %", "k/N", "95 % interval", "no answer")


def rows(scores: Sequence[Score], totals: bool = True) -> list[tuple[str, ...]]:
    """Write scores as rows below `HEADER`; more than one task adds micro and macro totals, if wanted."""
    out: list[tuple[str, ...]] = [cells(score) for score in scores]
    if totals and len(scores) > 1:
        out += [cells(micro(scores)), ("mean of tasks (macro)", f"{100 * macro(scores):.1f}", "", "", "")]
    return out


def table(scores: Sequence[Score], title: str = "", totals: bool = True) -> Table:
    """Draw scores for a terminal, with micro and macro totals below, if wanted."""
    from rich.table import Table
    from rich.text import Text

    out = Table(title=Text(printable(title)) if title else None)
    for i, name in enumerate(HEADER):
        out.add_column(name, justify="right" if i else "left", no_wrap=bool(i))
    for i, row in enumerate(rows(scores, totals)):
        out.add_row(*(Text(printable(cell)) for cell in row), end_section=i == len(scores) - 1)
    return out
