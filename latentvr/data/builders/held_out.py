"""Keep some of a pool's groups back for validation, so that no group is in two splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def connected(parts: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Put things that have a part in common, or a chain of such things between them, into one group.

    Args:
        parts: names of each thing's parts, such as the images of questions, by the thing's name.

    Returns:
        Name of the group of each thing: that of one of its things.
    """
    above = {name: name for name in parts}

    def top(name: str) -> str:
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    first: dict[str, str] = {}
    for name, found in parts.items():
        for part in found:
            # The smaller name stays, so that the order of the things changes nothing.
            low, high = sorted((top(name), top(first.setdefault(part, name))))
            above[high] = low
    return {name: top(name) for name in parts}
