"""Art style from ArtBench-10: which of two paintings is of the reference's style.

Every painting of the training folder goes into one triple at the most, and every triple into one split, so
that no painting is in two of them. The test folder is not touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentvr.data.builders.builder import Candidate, Generator, Listing
from latentvr.data.builders.duplicates import DuplicateRules
from latentvr.data.builders.held_out import held_out
from latentvr.data.builders.one_of_two import OneOfTwo
from latentvr.data.builders.rules import rule
from latentvr.data.readers.fields import wrong
from latentvr.data.sets import artbench


@dataclass(frozen=True)
class ArtStyleRules(DuplicateRules):
    """Parameters of `ArtStyle`."""

    train: int | None = rule(1000, "paper", "records of training")
    validation: int | None = rule(250, "paper", "records of validation")
    validation_share: float = rule(
        0.2, "not in the paper", "share of each style's paintings that is kept back for validation", 0, 1
    )


@dataclass(frozen=True)
class _Triple:
    reference: artbench.ArtbenchRow
    same: artbench.ArtbenchRow
    other: artbench.ArtbenchRow


class ArtStyle(OneOfTwo):
    """A reference painting, one of its style and one of another."""

    name = "art_style"
    task = "Art_Style"
    source = "ArtBench-10, https://artbench.eecs.berkeley.edu"
    licence = "fair use; not to be passed on"
    rules_type = ArtStyleRules
    splits = ("train", "validation")
    others = ("same", "other")
    rules: ArtStyleRules

    def candidates(self, split: str) -> Listing:
        """List the split's triples; each style has an equal share as the reference's."""
        _ = self.duplicates
        found = artbench.rows(self.root, "train")
        triples = _triples(found, self.draws("triples"))
        by_style = defaultdict(list)
        for triple in triples:
            by_style[triple.reference.style].append(self._candidate(triple))
        wanted = []
        for style, listed in sorted(by_style.items()):
            names = [candidate.key for candidate in listed]
            kept = held_out(names, self.rules.validation_share, self.draws("validation", style))
            wanted += [item for item in listed if (item.key in kept) == (split == "validation")]
        left = len(found) - 3 * len(triples)
        return Listing(wanted, {"left over": left} if left else {})

    def right(self, facts: Mapping[str, Any]) -> str:  # noqa: ARG002
        """The painting of the reference's style."""
        return "same"

    def _candidate(self, triple: _Triple) -> Candidate:
        parts = {"reference": triple.reference, "same": triple.same, "other": triple.other}
        facts = {part: row.image.relative_to(self.root).as_posix() for part, row in parts.items()}
        facts |= {"style": triple.reference.style, "other_style": triple.other.style}
        return Candidate(facts["reference"], facts, triple.reference.style)


def _triples(found: Sequence[artbench.ArtbenchRow], rng: Generator) -> list[_Triple]:
    """Group paintings so that none is used twice: of three of a style, two stay and one is given away."""
    by_style = defaultdict(list)
    for row in found:
        by_style[row.style].append(row)
    if len(by_style) < 2:
        raise wrong(
            "at least two styles", f"only {next(iter(by_style))}", "train", "unpack the data set again"
        )
    pairs: list[tuple[artbench.ArtbenchRow, artbench.ArtbenchRow]] = []
    given: list[artbench.ArtbenchRow] = []
    for _, rows in sorted(by_style.items()):
        order = [rows[place] for place in rng.permutation(len(rows))]
        for start in range(0, len(order) - 2, 3):
            pairs.append((order[start], order[start + 1]))
            given.append(order[start + 2])
    given = [given[place] for place in rng.permutation(len(given))]
    triples: list[_Triple] = []
    for place in rng.permutation(len(pairs)):
        reference, same = pairs[place]
        triples += _with_other(reference, same, given, triples)
    return triples


def _with_other(
    reference: artbench.ArtbenchRow,
    same: artbench.ArtbenchRow,
    given: list[artbench.ArtbenchRow],
    triples: list[_Triple],
) -> list[_Triple]:
    """Complete a pair by a painting of another style, which is taken from what is given away."""
    # From the end, where taking one away is cheap.
    for at in range(len(given) - 1, -1, -1):
        if given[at].style != reference.style:
            return [_Triple(reference, same, given.pop(at))]
    # All that is left is of the pair's own style: an earlier triple that can take it gives its own.
    for at, earlier in enumerate(triples):
        if given and reference.style not in (earlier.reference.style, earlier.other.style):
            triples[at] = _Triple(earlier.reference, earlier.same, given.pop())
            return [_Triple(reference, same, earlier.other)]
    return []
