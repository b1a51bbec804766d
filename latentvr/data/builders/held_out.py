"""Keep some of a pool's groups back for validation, so that no group is in two splits."""

from __future__ import annotations

from collections.abc import Iterable

from latentvr.data.builders.builder import Generator


def held_out(groups: Iterable[str], share: float, rng: Generator) -> frozenset[str]:
    """Draw the groups that are kept back.

    Args:
        groups: names; repetitions count once.
        share: of the groups to keep back, rounded; above 0 at least one is, and at least one is not.
        rng: draws; the same ones for every split.

    Returns:
        Names of the groups of the validation split.
    """
    names = sorted(set(groups))
    if not share or len(names) < 2:
        return frozenset()
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    return frozenset(names[i] for i in rng.permutation(len(names))[:count])
