"""Which candidates become records: a seeded order, and shares of strata that are kept where they can be."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from latentvr.data.builders.builder import Candidate, Generator
from latentvr.errors import RecordError


def require_unique(candidates: Sequence[Candidate]) -> None:
    """Refuse two candidates with one key: they would have the same draws and one line in the journal.

    Args:
        candidates: of a split.

    Raises:
        RecordError: a key occurs twice.
    """
    seen = set()
    for candidate in candidates:
        if candidate.key in seen:
            raise RecordError(
                f"expected every source item once, got {candidate.key!r} twice, at the data set's folder; "
                "fix: unpack the data set again"
            )
        seen.add(candidate.key)


def shuffled(candidates: Sequence[Candidate], rng: Generator) -> list[Candidate]:
    """Put candidates into a random order that depends on their keys and the draws alone."""
    ordered = sorted(candidates, key=lambda candidate: candidate.key)
    return [ordered[i] for i in rng.permutation(len(ordered))]


def quotas(shares: Mapping[str, float], size: int) -> dict[str, int]:
    """Split a size by shares, the largest remainders rounded up (Hamilton's method).

    Args:
        shares: weight of each stratum, not negative, not all zero.
        size: sum of the quotas.

    Returns:
        How many records each stratum shall have.
    """
    total = math.fsum(shares.values())
    exact = {name: size * weight / total for name, weight in shares.items()}
    out = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (out[name] - exact[name], name))
    for name in by_remainder[: size - sum(out.values())]:
        out[name] += 1
    return out


def interleaved(candidates: Sequence[Candidate], shares: Mapping[str, float]) -> list[Candidate]:
    """Merge the strata so that every stretch of the list holds them by their shares.

    Args:
        candidates: shuffled; the order within a stratum stays.
        shares: weight of each stratum; one of weight 0 comes last.

    Returns:
        All candidates.
    """
    queues: dict[str, deque[Candidate]] = {}
    for candidate in candidates:
        queues.setdefault(candidate.stratum, deque()).append(candidate)
    taken = dict.fromkeys(queues, 0)

    def due(name: str) -> tuple[float, str]:
        weight = shares.get(name, 0.0)
        return ((taken[name] + 0.5) / weight if weight else math.inf, name)

    out = []
    while queues:
        name = min(queues, key=due)
        out.append(queues[name].popleft())
        taken[name] += 1
        if not queues[name]:
            del queues[name]
    return out


class Quota:
    """Counts what a split has and says what it still takes.

    Args:
        size: records wanted; None takes everything.
        shares: weight of each stratum.
    """

    def __init__(self, size: int | None, shares: Mapping[str, float]) -> None:
        self.size = size
        self.accepted = 0
        self._left = {} if size is None else quotas(shares, size)
        self._lifted = size is None or len(shares) < 2

    def full(self, stratum: str) -> bool:
        """Whether the split takes no more of a stratum for now."""
        return not self._lifted and self._left.get(stratum, 0) <= 0

    def done(self) -> bool:
        """Whether the split has all that it shall have."""
        return self.size is not None and self.accepted >= self.size

    def accept(self, stratum: str) -> None:
        """Count a record."""
        self.accepted += 1
        self._left[stratum] = self._left.get(stratum, 0) - 1

    def lift(self) -> None:
        """Take what is left of any stratum: some have run dry."""
        self._lifted = True


def passes(candidates: Sequence[Candidate], quota: Quota) -> Iterator[Candidate]:
    """Give the candidates to try, one by one; the caller counts what it accepts in `quota`.

    Candidates of a full stratum wait; once all others were tried, the quotas are lifted and they follow.

    Args:
        candidates: interleaved.
        quota: of the split.

    Yields:
        Candidate: the next one to try.
    """
    waiting = []
    for candidate in candidates:
        if quota.done():
            return
        if quota.full(candidate.stratum):
            waiting.append(candidate)
        else:
            yield candidate
    quota.lift()
    for candidate in waiting:
        if quota.done():
            return
        yield candidate
