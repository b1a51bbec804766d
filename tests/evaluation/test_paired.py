"""Paired statistics: against scipy, by hand, and by how often they err on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from latentvr.errors import UserError
from latentvr.evaluation.paired import bootstrap, holm, mcnemar, p_cell, p_text, points


def _pairs(both: int, lost: int, won: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * (both + lost) + [False] * (won + neither)
    after = [True] * both + [False] * lost + [True] * won + [False] * neither
    return before, after


@pytest.mark.parametrize(
    ("lost", "won"),
    [(0, 1), (1, 0), (0, 5), (6, 0), (3, 3), (3, 4), (2, 4), (10, 25), (40, 41), (300, 220), (2000, 1700)],
)
def test_mcnemar_is_the_two_sided_binomial_test(lost: int, won: int) -> None:
    expected = binomtest(lost, lost + won, 0.5).pvalue
    assert mcnemar(*_pairs(7, lost, won, 2)) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(*_pairs(3, 0, 5, 9)) == pytest.approx(2 / 32)
    assert mcnemar(*_pairs(0, 1, 5, 0)) == pytest.approx(2 * (1 + 6) / 64)


def test_mcnemar_without_discordant_pairs_is_1() -> None:
    assert mcnemar(*_pairs(4, 0, 0, 3)) == 1.0
    assert mcnemar([], []) == 1.0


def test_mcnemar_does_not_depend_on_the_direction_or_on_concordant_pairs() -> None:
    assert mcnemar(*_pairs(0, 12, 3, 0)) == mcnemar(*_pairs(500, 3, 12, 100))


def test_mcnemar_of_very_many_pairs_stays_a_probability() -> None:
    p = mcnemar(*_pairs(0, 50_300, 49_700, 0))
    # Normal approximation with continuity correction.
    assert p == pytest.approx(0.0582, abs=2e-4)
    assert mcnemar(*_pairs(0, 90_000, 10_000, 0)) == 0.0


def test_mcnemar_refuses_other_records() -> None:
    with pytest.raises(UserError, match="got 2 and 1, at McNemar's test"):
        mcnemar([True, False], [True])


def test_mcnemar_errs_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(0)
    ps = []
    for _ in range(400):
        before, after = rng.random((2, 60)) < 0.7
        ps.append(mcnemar(before.tolist(), after.tolist()))
    assert np.mean(np.array(ps) < 0.05) <= 0.05


def test_bootstrap_against_drawing_the_records_one_by_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.choice([-1.0, -0.5, 0.0, 0.0, 1.0], size=120)
    drawn = rng.choice(values, size=(10_000, 120)).mean(axis=1)
    assert bootstrap(values.tolist()) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.012)


@pytest.mark.parametrize(("lost", "won"), [(0.10, 0.10), (0.20, 0.05), (0.02, 0.30)])
def test_bootstrap_covers_the_truth(lost: float, won: float) -> None:
    """95 % intervals of 150 records: between 90 and 99 % of them hold the true difference."""
    rng = np.random.default_rng(1)
    samples = rng.choice([-1.0, 0.0, 1.0], size=(300, 150), p=[lost, 1 - lost - won, won])
    intervals = [bootstrap(sample.tolist(), resamples=1000) for sample in samples]
    covered = np.mean([low <= won - lost <= high for low, high in intervals])
    assert 0.90 <= covered <= 0.99


def test_bootstrap_of_continuous_differences_covers_the_truth() -> None:
    rng = np.random.default_rng(2)
    samples = rng.normal(0.3, 1.0, size=(200, 80))
    covered = np.mean([low <= 0.3 <= high for low, high in (bootstrap(s, resamples=800) for s in samples)])
    assert 0.89 <= covered <= 0.99


def test_bootstrap_depends_on_the_values_and_the_seed_alone() -> None:
    values = [1.0] * 9 + [0.0] * 30 + [-1.0] * 4
    assert bootstrap(values) == bootstrap(values[::-1])
    assert bootstrap(np.random.default_rng(0).normal(size=50)) != bootstrap(
        np.random.default_rng(0).normal(size=50), seed=1
    )


def test_bootstrap_level_widens_the_interval() -> None:
    values = [1.0] * 30 + [-1.0] * 20 + [0.0] * 50
    narrow, wide = bootstrap(values, level=0.5), bootstrap(values, level=0.99)
    assert wide[0] < narrow[0] < 0.1 < narrow[1] < wide[1]


def test_bootstrap_of_equal_differences_has_no_width() -> None:
    assert bootstrap([0.0] * 20) == (0.0, 0.0)
    assert bootstrap([-1.0]) == (-1.0, -1.0)


def test_bootstrap_is_drawn_whole_in_parts() -> None:
    """With 5000 distinct values not all 1000 draws are held at once; the interval is that of the theory."""
    values = np.random.default_rng(5).normal(size=5000)
    low, high = bootstrap(values, resamples=1000)
    half = 1.96 * values.std() / 5000**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.004)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "got none, at a paired interval"),
        ([0.0, float("nan")], {}, "got one that is not finite"),
        ([float("inf")], {}, "got one that is not finite"),
        ([1.0], {"level": 1.0}, "level=1.0"),
        ([1.0], {"resamples": 0}, "resamples=0"),
    ],
)
def test_bootstrap_refuses(values: list[float], options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bootstrap(values, **options)  # type: ignore[arg-type]


def test_holm_by_hand() -> None:
    """Steps of the procedure: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.2 x 1."""
    assert holm({"b": 0.02, "d": 0.2, "a": 0.01, "c": 0.03}) == pytest.approx(
        {"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.2}
    )


def test_holm_never_falls_below_a_smaller_p_nor_above_1() -> None:
    assert holm({"a": 0.01, "b": 0.011, "c": 0.9, "d": 0.8}) == pytest.approx(
        {"a": 0.04, "b": 0.04, "c": 1.0, "d": 1.0}
    )


def test_holm_keeps_the_order_and_a_single_test() -> None:
    assert list(holm({"z": 0.5, "a": 0.1})) == ["z", "a"]
    assert holm({"x": 0.03}) == {"x": 0.03}
    assert holm({}) == {}


def test_holm_of_ties() -> None:
    assert holm({"a": 0.02, "b": 0.02, "c": 0.02}) == pytest.approx({"a": 0.06, "b": 0.06, "c": 0.06})


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_holm_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(UserError, match=r"p value between 0 and 1.*at 'x'"):
        holm({"x": p})


def test_holm_bounds_the_chance_of_one_false_finding() -> None:
    rng = np.random.default_rng(4)
    draws = rng.random((2000, 10))
    found = [min(holm(dict(enumerate(row))).values()) < 0.05 for row in draws]  # type: ignore[arg-type]
    assert np.mean(found) < 0.065


@pytest.mark.parametrize(
    ("share", "text"), [(0.125, "+12.5"), (-0.2, "-20.0"), (0.0, "+0.0"), (-0.0001, "+0.0"), (1.0, "+100.0")]
)
def test_points(share: float, text: str) -> None:
    assert points(share) == text


@pytest.mark.parametrize(
    ("p", "text"), [(1.0, "p = 1"), (0.0496, "p = 0.0496"), (0.001, "p = 0.001"), (1e-9, "p < 0.001")]
)
def test_p_text(p: float, text: str) -> None:
    assert p_text(p) == text
    assert text in (f"p = {p_cell(p)}", f"p {p_cell(p)}")
