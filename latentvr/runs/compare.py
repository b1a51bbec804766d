"""Compare two evaluations of the same records, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import shown
from latentvr.diagnostics.figures import BASELINE
from latentvr.errors import UserError
from latentvr.evaluation.paired import bootstrap, holm, mcnemar, p_text, points
from latentvr.runs.results import Answer, Results, read_results, results_folder

#: Key, A's value, B's value.
Difference = tuple[str, Any, Any]
ALPHA = 0.05
#: Fewest records on which the two differ, all in one direction, for McNemar's p to be below ALPHA: 2 / 2^6.
_LEAST = 6


@dataclass(frozen=True)
class Pair:
    """Two models on the records of one task, or of all.

    Attributes:
        task: its name.
        records: how many.
        right_a: right answers of A.
        right_b: right answers of B.
        only_a: records that only A answers right.
        only_b: records that only B answers right.
        interval: 95 % bootstrap interval of the difference, over records, between -1 and 1.
        p: McNemar's exact test.
        adjusted: p after Holm's correction over tasks; of the total it is p.
    """

    task: str
    records: int
    right_a: int
    right_b: int
    only_a: int
    only_b: int
    interval: tuple[float, float]
    p: float
    adjusted: float

    @property
    def difference(self) -> float:
        """Accuracy of B minus that of A, between -1 and 1."""
        return (self.right_b - self.right_a) / self.records

    @property
    def differs(self) -> bool:
        """Whether p after correction is below 0.05 and the interval leaves 0 out."""
        return self.adjusted < ALPHA and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Comparison:
    """What two evaluations say about each other.

    Attributes:
        a: the first.
        b: the second.
        tasks: in the order in which they first occur.
        total: all records, each counting the same (micro).
        decode: settings of the answers that differ: key, A's value, B's value.
        others: other settings that differ, in the same form: of the benchmark and of the model, and the
            weights where both name one checkpoint.
    """

    a: Results
    b: Results
    tasks: tuple[Pair, ...]
    total: Pair
    decode: tuple[Difference, ...]
    others: tuple[Difference, ...] = ()

    @property
    def sentence(self) -> str:
        """What the figures say, in words."""
        return f"{self._overall()}{self._by_task()}."

    def _overall(self) -> str:
        total = self.total
        low, high = (points(end) for end in total.interval)
        told = f"(95 % interval {low} to {high}, {p_text(total.p)})"
        if total.differs:
            more = "more" if total.difference > 0 else "less"
            return (
                f"B is right {more} often than A on these {total.records} records: by "
                f"{points(total.difference)} points {told}"
            )
        least = 100 * _LEAST / total.records
        bound = f"a difference of {least:.1f} points or more" if least <= 100 else "no difference at all"
        return (
            f"These {total.records} records do not show that A and B differ: {points(total.difference)} "
            f"points {told}; so many can show {bound} at best"
        )

    def _by_task(self) -> str:
        if len(self.tasks) < 2:
            return ""
        better = [pair.task for pair in self.tasks if pair.differs and pair.difference > 0]
        worse = [pair.task for pair in self.tasks if pair.differs and pair.difference < 0]
        if not better and not worse:
            return "; no task by itself shows a difference after Holm's correction"
        said = [
            f"B is {word} on {', '.join(names)}"
            for word, names in (("better", better), ("worse", worse))
            if names
        ]
        return f"; by task, after Holm's correction, {' and '.join(said)}"


def compare(
    path_a: Path, path_b: Path, split: str = "test", condition: str | None = None, seed: int = 0
) -> Comparison:
    """Compare what two evaluations answered to the same records.

    Args:
        path_a: folder with results, or a run folder.
        path_b: the other one.
        split: name of the folder below `eval/` of a run folder, or where there is none below `diagnose/`;
            the other way round for another condition than the model as it is.
        condition: that is compared; the model as it is by default.
        seed: which run of both is compared, of a condition that has several.

    Returns:
        Paired figures for each task and for all records.

    Raises:
        UserError: results are missing, damaged, of other records, or read by other rules.
    """
    name = condition or BASELINE
    a, b = (read_results(results_folder(path, split, name), name, seed) for path in (path_a, path_b))
    _require_same_records(a, b)
    _require_same_rules(a, b)
    groups: dict[str, list[tuple[Answer, Answer]]] = {}
    for one, other in zip(a.answers, b.answers, strict=True):
        groups.setdefault(one.task, []).append((one, other))
    tasks = {task: _pair(task, answers) for task, answers in groups.items()}
    adjusted = holm({task: pair.p for task, pair in tasks.items()})
    return Comparison(
        a,
        b,
        tuple(replace(pair, adjusted=adjusted[task]) for task, pair in tasks.items()),
        _pair("all (micro)", list(zip(a.answers, b.answers, strict=True))),
        _differences(a.decode, b.decode),
        _differences(_others(a, b), _others(b, a)),
    )


def _differences(a: dict[str, Any], b: dict[str, Any]) -> tuple[Difference, ...]:
    return tuple((key, a.get(key), b.get(key)) for key in {**a, **b} if a.get(key) != b.get(key))


def _others(results: Results, beside: Results) -> dict[str, Any]:
    """Settings beside those of the answers; two checkpoints have other weights, which is no news."""
    out = {f"benchmark.{key}": value for key, value in results.benchmark.items()}
    out |= {f"model.{key}": value for key, value in results.model.items()}
    if results.checkpoint == beside.checkpoint and None not in (results.weights, beside.weights):
        out["weights"] = results.weights
    return out


def _pair(task: str, answers: Sequence[tuple[Answer, Answer]]) -> Pair:
    right_a, right_b = ([pair[i].correct for pair in answers] for i in (0, 1))
    p = mcnemar(right_a, right_b)
    return Pair(
        task,
        len(answers),
        sum(right_a),
        sum(right_b),
        only_a=sum(one and not other for one, other in zip(right_a, right_b, strict=True)),
        only_b=sum(other and not one for one, other in zip(right_a, right_b, strict=True)),
        interval=bootstrap([other - one for one, other in zip(right_a, right_b, strict=True)]),
        p=p,
        adjusted=p,
    )


def _require_same_records(a: Results, b: Results) -> None:
    """The fingerprint says which records were asked, the rows say that all were answered in one order."""
    where = f"{str(a.folder)!r} and {str(b.folder)!r}"
    if a.sha256 != b.sha256 or len(a.answers) != len(b.answers):
        got = f"{len(a.answers)} records {shown(a.sha256[:12])} and {len(b.answers)} {shown(b.sha256[:12])}"
        raise UserError(
            f"expected results of the same data, got {got}, at {where}; "
            "fix: evaluate both on one file with latentvr eval RUN --data FILE"
        )
    for row, (one, other) in enumerate(zip(a.answers, b.answers, strict=True), start=1):
        if (one.id, one.task) != (other.id, other.task):
            got = f"{shown(one.id)} ({shown(one.task)}) and {shown(other.id)} ({shown(other.task)})"
            raise UserError(
                f"expected the same record in both, got {got}, at answer {row} of {where}; "
                "fix: evaluate both again, into new folders"
            )


def _require_same_rules(a: Results, b: Results) -> None:
    """Of one text two rules may read two answers: then it is the rules that are compared."""
    for row, (one, other) in enumerate(zip(a.answers, b.answers, strict=True), start=1):
        if one.rule != other.rule:
            raise UserError(
                f"expected answers that one rule has read, got {shown(one.rule)} and {shown(other.rule)}, "
                f"at answer {row} of {str(a.folder)!r} and {str(b.folder)!r}; "
                "fix: evaluate both with the same --style"
            )
