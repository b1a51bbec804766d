"""Statistics of two answers to the same records: bootstrap interval, McNemar's test, Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, lgamma, log

import numpy as np

from latentvr.errors import UserError

#: Draws of the bootstrap that are held in memory at once.
_CHUNK = 2_000_000


def bootstrap(
    differences: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Give the percentile interval of the mean of per-record differences (Efron 1979).

    Records are drawn with replacement. The interval depends on the values and not on their order.

    Args:
        differences: one for each record.
        level: coverage, between 0 and 1.
        resamples: number of draws of all records.
        seed: of the draws.

    Returns:
        Lower and upper bound, in the unit of the differences.

    Raises:
        UserError: there are no differences, one is not finite, or level or resamples are out of range.
    """
    if not (0 < level < 1 and resamples >= 1):
        raise UserError(
            f"expected 0 < level < 1 and resamples >= 1, got level={level}, resamples={resamples}, "
            "at a paired interval; fix: change them"
        )
    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        got = "none" if values.size == 0 else "one that is not finite"
        raise UserError(
            f"expected finite differences of one record or more, got {got}, at a paired interval; "
            "fix: evaluate a split that has records"
        )
    # How often each value is drawn is multinomial: a few values instead of as many draws as records.
    distinct, counts = np.unique(values, return_counts=True)
    shares = counts / values.size
    generator = np.random.default_rng(seed)
    at_once = max(1, _CHUNK // distinct.size)
    means = np.concatenate(
        [
            generator.multinomial(values.size, shares, size=min(at_once, resamples - start)) @ distinct
            for start in range(0, resamples, at_once)
        ]
    )
    low, high = np.quantile(means / values.size, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Give the two-sided p value of McNemar's exact test (McNemar 1947).

    The records that only one of the two got right are split as a fair coin would: twice the smaller binomial
    tail, at most 1.

    Args:
        before: whether each record's answer was right.
        after: the same records' other answers.

    Returns:
        The p value; 1 where the two are right on the same records.

    Raises:
        UserError: the two are not of the same records.
    """
    if len(before) != len(after):
        raise UserError(
            f"expected two answers to each record, got {len(before)} and {len(after)}, at McNemar's test; "
            "fix: evaluate both on the same records"
        )
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    won = sum(a and not b for b, a in zip(before, after, strict=True))
    return _both_tails(min(lost, won), lost + won)


def _both_tails(least: int, trials: int) -> float:
    """Twice the probability of at most `least` heads in `trials` tosses of a fair coin, at most 1."""
    if 2 * least >= trials - 1:
        return 1.0
    # Logarithms, for the powers leave the range of floats from 1100 tosses on.
    ways = lgamma(trials + 1) - lgamma(least + 1) - lgamma(trials - least + 1)
    term = exp(ways - trials * log(2))
    tail = 0.0
    for heads in range(least, -1, -1):
        tail += term
        if term <= tail * 1e-17:
            break
        term *= heads / (trials - heads + 1)
    return min(1.0, 2 * tail)


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Adjust p values of several tests so that the chance of one false finding stays bounded (Holm 1979).

    Args:
        ps: p value of each test.

    Returns:
        Adjusted p values in the same order, each between its p value and 1.

    Raises:
        UserError: a value is no probability.
    """
    for name, p in ps.items():
        if not 0 <= p <= 1:
            raise UserError(f"expected a p value between 0 and 1, got {p}, at {name!r}; fix: test it again")
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(ps, key=lambda name: ps[name])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in ps}


def points(share: float) -> str:
    """Write a difference of shares in percentage points with its sign: 0.125 is "+12.5"."""
    # Adding 0 makes of a rounded -0.0 a +0.0: no change has no direction.
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def p_text(p: float) -> str:
    """Write a p value as "p = 0.0123" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def p_cell(p: float) -> str:
    """Write a p value below a heading that says so: "0.0123" or "< 0.001"."""
    return p_text(p).removeprefix("p = ").removeprefix("p ")
