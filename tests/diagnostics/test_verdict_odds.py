"""How often the rule errs, from the answers of made-up models to the word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from latentvr.diagnostics.figures import table
from latentvr.diagnostics.interventions import INTERVENTIONS
from latentvr.diagnostics.outcome import Condition, Outcome
from latentvr.diagnostics.verdict import verdict
from latentvr.evaluation.metrics import Prediction

NAMES = [each.name for each in INTERVENTIONS if each.name != "identity"]
RULED = ("swap", "zeros", "mean", "noise_matched", "noise_norm", "blank_image", "markers_only", "drop")
RIGHT = 0.8


def _outcome(correct: np.ndarray) -> Outcome:
    made = (Prediction(str(i), "t", "x", "AB"[not r], "A", bool(r), False) for i, r in enumerate(correct))
    return Outcome(tuple(made), (0.5,) * len(correct))


def _word(rng: np.random.Generator, records: int, costs: Mapping[str, float], churn: float) -> str:
    """The word on one model.

    Args:
        rng: of all answers.
        records: how many.
        costs: what conditions cost, as a share of the records; nothing where none is given.
        churn: share of answers that each condition changes besides, as many to right as to wrong ones.
    """
    baseline = rng.random(records) < RIGHT

    def after(cost: float) -> np.ndarray:
        lost = rng.random(records) < (cost + churn / 2) / RIGHT
        won = rng.random(records) < churn / 2 / (1 - RIGHT)
        return np.where(baseline, ~lost, won)

    conditions = [Condition(name, (_outcome(after(costs.get(name, 0.0))),)) for name in NAMES]
    return verdict(table(_outcome(baseline), conditions), True).word


def _words(records: int, costs: Mapping[str, float], times: int, churn: float = 0.05) -> Counter[str]:
    return Counter(_word(np.random.default_rng(seed), records, costs, churn) for seed in range(times))


@pytest.mark.parametrize(
    ("word", "records", "costs"),
    [
        ("used", 300, {**dict.fromkeys(RULED, 0.2), "drop": 0.3}),
        ("markers suffice", 300, {"drop": 0.3, "markers_only": 0.02}),
        # Without markers the slots alone do it.
        ("markers suffice", 300, {"drop": 0.3, "markers_only": 0.3}),
        ("not shown to be used", 300, {**dict.fromkeys(RULED, 0.3), "zeros": 0.0}),
        # Fewer right answers than have to be lost.
        ("not shown to be used", 8, dict.fromkeys(RULED, 0.6)),
    ],
)
def test_the_word_fits_the_model(word: str, records: int, costs: dict[str, float]) -> None:
    assert _words(records, costs, times=10) == {word: 10}


def test_chance_alone_is_never_called_use() -> None:
    assert _words(200, {}, times=15, churn=0.2) == {"not shown to be used": 15}


def test_markers_that_keep_just_three_quarters_are_seldom_called_enough() -> None:
    """The edge of the rule, where the word is wrong in a twentieth of the cases or so."""
    costs = {**dict.fromkeys(RULED, 0.4), "swap": 0.0, "markers_only": 0.1}
    assert _words(300, costs, times=30)["markers suffice"] <= 4
