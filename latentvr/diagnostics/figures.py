"""The figures of each condition against the model as it is, record by record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from latentvr.diagnostics.interventions import IDENTITY, NAMES
from latentvr.diagnostics.outcome import Condition, Outcome
from latentvr.errors import UserError
from latentvr.evaluation.metrics import Prediction
from latentvr.evaluation.paired import bootstrap, holm, mcnemar

BASELINE = "baseline"


@dataclass(frozen=True)
class Figures:
    """What a condition changed.

    Attributes:
        name: of the condition.
        correct: right answers, summed over runs.
        total: records times runs.
        difference: accuracy minus the baseline's, between -1 and 1, mean over runs.
        interval: 95 % bootstrap interval of the difference, over records; a record counts with the mean of
            its runs.
        p: McNemar's test against the baseline; with several runs the largest of theirs.
        adjusted: p after Holm's correction over all interventions that apply, run or not, but the identity,
            which keeps p.
        probability: of the right answer under teacher forcing, mean over records and runs.
        flipped: share of answers that differ from the baseline's, whether right or wrong.
        failed: answers that could not be read, summed over runs.
    """

    name: str
    correct: int
    total: int
    difference: float
    interval: tuple[float, float]
    p: float
    adjusted: float
    probability: float
    flipped: float
    failed: int

    @property
    def accuracy(self) -> float:
        """Share of right answers, between 0 and 1."""
        return self.correct / self.total


def table(baseline: Outcome, conditions: Sequence[Condition]) -> dict[str, Figures]:
    """Compare conditions with the model as it is.

    Args:
        baseline: the model as it is.
        conditions: those without runs are left out: they do not apply.

    Returns:
        Figures by name: "baseline" first, then the conditions in their order.

    Raises:
        UserError: there are no records, a condition has other records, or one comes twice.
    """
    out = {BASELINE: _figures(Condition(BASELINE, (baseline,)), baseline)}
    for condition in conditions:
        if condition.name in out:
            raise UserError(
                f"expected each condition once, got {condition.name!r} again, at the table of conditions; "
                "fix: run it once, with more seeds"
            )
        if condition.runs:
            out[condition.name] = _figures(condition, baseline)
    compared = {name: figures.p for name, figures in out.items() if name not in (BASELINE, IDENTITY)}
    asked = {condition.name for condition in conditions}
    # What was not run counts as well: else a p would depend on what else was asked for.
    left_out = dict.fromkeys((name for name in NAMES if name != IDENTITY and name not in asked), 1.0)
    adjusted = holm({**compared, **left_out})
    return {name: replace(made, adjusted=adjusted.get(name, made.p)) for name, made in out.items()}


def _figures(condition: Condition, baseline: Outcome) -> Figures:
    for run in condition.runs:
        _require_same_records(condition.name, run, baseline)
    before = [p.correct for p in baseline.predictions]
    after = [[p.correct for p in run.predictions] for run in condition.runs]
    differences = [fmean(each) - was for was, each in zip(before, zip(*after, strict=True), strict=True)]
    p = max(mcnemar(before, run) for run in after)
    answers = [said(p) for p in baseline.predictions]
    changed = [
        said(prediction) != answer
        for run in condition.runs
        for answer, prediction in zip(answers, run.predictions, strict=True)
    ]
    return Figures(
        condition.name,
        correct=sum(map(sum, after)),
        total=sum(map(len, after)),
        difference=fmean(differences),
        interval=bootstrap(differences),
        p=p,
        adjusted=p,
        probability=fmean(value for run in condition.runs for value in run.probabilities),
        flipped=fmean(changed),
        failed=sum(prediction.failed for run in condition.runs for prediction in run.predictions),
    )


def said(prediction: Prediction) -> tuple[bool, str]:
    """What an answer says, by which answers are the same or flipped.

    Args:
        prediction: the answer.

    Returns:
        Whether an answer was found, and its canonical form; the text where none was.
    """
    found = prediction.answer is not None
    return found, prediction.answer if prediction.answer is not None else prediction.text


def _require_same_records(name: str, run: Outcome, baseline: Outcome) -> None:
    """Refuse to pair answers of different records, and probabilities that are none."""
    ids = [p.id for p in baseline.predictions]
    if not ids or [p.id for p in run.predictions] != ids:
        raise UserError(
            f"expected answers to the baseline's {len(ids)} records in their order (one or more), "
            f"got {len(run.predictions)}, at condition {name!r}; fix: run all conditions on the same records"
        )
    if len(run.probabilities) != len(ids) or not all(0 <= value <= 1 for value in run.probabilities):
        raise UserError(
            f"expected {len(ids)} probabilities between 0 and 1, got others, at condition {name!r}; "
            "fix: run the condition again"
        )
