"""Figures of conditions: each by hand on few records, and over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from latentvr.diagnostics.figures import table
from latentvr.diagnostics.interventions import NAMES
from latentvr.diagnostics.outcome import Condition, Outcome
from latentvr.errors import UserError
from latentvr.evaluation.metrics import Prediction
from latentvr.evaluation.paired import bootstrap, holm, mcnemar


def _prediction(place: int, answer: str | None, text: str = "", expected: str = "A") -> Prediction:
    correct = answer == expected
    return Prediction(f"r{place}", "t", text or str(answer), answer, expected, correct, answer is None)


def _outcome(answers: Sequence[str | None], probability: float = 0.5) -> Outcome:
    """Records whose right answer is A."""
    made = tuple(_prediction(place, answer) for place, answer in enumerate(answers))
    return Outcome(made, (probability,) * len(made))


def test_a_condition_by_hand() -> None:
    before, after = list("AAAAAABBBB"), [*"AAABBB", "A", "B", "C", None]
    figures = table(_outcome(before, 0.6), [Condition("swap", (_outcome(after, 0.4),))])
    assert list(figures) == ["baseline", "swap"]
    swap = figures["swap"]
    assert (swap.correct, swap.total, swap.failed) == (4, 10, 1)
    assert swap.accuracy == 0.4
    assert swap.difference == pytest.approx(-0.2)
    assert swap.interval == bootstrap([0, 0, 0, -1, -1, -1, 1, 0, 0, 0])
    assert swap.p == mcnemar([True] * 3 + [False], [False] * 3 + [True])
    assert swap.adjusted == 1
    assert swap.probability == pytest.approx(0.4)
    # Three from right to wrong, one from wrong to right, one from wrong to wrong, one that was not found.
    assert swap.flipped == pytest.approx(0.6)


def test_the_baseline_is_compared_with_itself() -> None:
    baseline = table(_outcome("AAB", 0.7), [])["baseline"]
    assert (baseline.correct, baseline.total, baseline.difference, baseline.interval) == (2, 3, 0, (0, 0))
    assert (baseline.p, baseline.adjusted, baseline.flipped) == (1, 1, 0)
    assert baseline.probability == pytest.approx(0.7)


def test_answers_that_were_not_found_are_compared_by_their_text() -> None:
    before = Outcome(
        (_prediction(0, None, "hm"), _prediction(1, None, "hm"), _prediction(2, None, "B")), (0,) * 3
    )
    after = Outcome((_prediction(0, None, "hm"), _prediction(1, None, "no"), _prediction(2, "B")), (0,) * 3)
    assert table(before, [Condition("zeros", (after,))])["zeros"].flipped == pytest.approx(2 / 3)


def test_the_same_answer_in_other_words_is_not_flipped() -> None:
    before = Outcome((_prediction(0, "A", "A"),), (1.0,))
    after = Outcome((_prediction(0, "A", "The answer is A."),), (1.0,))
    assert table(before, [Condition("zeros", (after,))])["zeros"].flipped == 0


def test_runs_of_several_seeds_count_as_one_value_for_each_record() -> None:
    """Interval over records: four seeds are no four times as many records."""
    baseline = _outcome("A" * 20)
    runs = [_outcome("B" * 4 + "A" * 16, 0.2), _outcome("B" * 10 + "A" * 10, 0.4)]
    figures = table(baseline, [Condition("noise_norm", tuple(runs))])["noise_norm"]
    assert (figures.correct, figures.total) == (26, 40)
    assert figures.difference == pytest.approx(-0.35)
    assert figures.interval == bootstrap([-1.0] * 4 + [-0.5] * 6 + [0.0] * 10)
    assert figures.p == mcnemar([True] * 4, [False] * 4)
    assert figures.probability == pytest.approx(0.3)
    assert figures.flipped == pytest.approx(0.35)
    repeated = table(baseline, [Condition("x", (runs[0],) * 5)])["x"]
    once = table(baseline, [Condition("x", (runs[0],))])["x"]
    assert (repeated.interval, repeated.p) == (once.interval, once.p)


def test_holm_counts_every_condition_but_the_identity() -> None:
    baseline = _outcome("A" * 30)
    conditions = [
        Condition("identity", (baseline,)),
        Condition("zeros", (_outcome("B" * 8 + "A" * 22),)),
        Condition("oracle", (), "no boxes"),
        Condition("drop", (_outcome("B" * 20 + "A" * 10),)),
        Condition("top_k", (baseline,)),
    ]
    figures = table(baseline, conditions)
    assert list(figures) == ["baseline", "identity", "zeros", "drop", "top_k"]
    ps = {name: figures[name].p for name in ("zeros", "drop", "top_k")}
    others = {name: 1.0 for name in NAMES if name not in (*ps, "identity", "oracle")}
    assert {name: figures[name].adjusted for name in ps} == {
        name: p for name, p in holm({**ps, **others}).items() if name in ps
    }
    # All but the identity and what does not apply, whether run or not, and drop stands before it.
    assert figures["zeros"].adjusted == pytest.approx((len(NAMES) - 3) * figures["zeros"].p)
    assert figures["identity"].adjusted == figures["identity"].p == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (_outcome("AA"), "expected answers to the baseline's 3 records .* got 2, at condition 'swap'"),
        (Outcome(_outcome("AAA").predictions[::-1], (0.5,) * 3), "baseline's 3 records in their order"),
        (Outcome(_outcome("AAA").predictions, (0.5,) * 2), "expected 3 probabilities"),
        (_outcome("AAA", float("nan")), "probabilities between 0 and 1"),
        (_outcome("AAA", 1.1), "probabilities between 0 and 1"),
    ],
)
def test_answers_of_other_records_are_refused(other: Outcome, message: str) -> None:
    with pytest.raises(UserError, match=message):
        table(_outcome("AAB"), [Condition("swap", (_outcome("ABB"), other))])


def test_no_records_are_refused() -> None:
    with pytest.raises(UserError, match=r"0 records .*one or more.* at condition 'baseline'"):
        table(_outcome(""), [])


@pytest.mark.parametrize("name", ["zeros", "baseline"])
def test_a_condition_that_comes_twice_is_refused(name: str) -> None:
    conditions = [Condition("zeros", (_outcome("A"),)), Condition(name, (_outcome("B"),))]
    with pytest.raises(UserError, match=f"got '{name}' again"):
        table(_outcome("A"), conditions)
