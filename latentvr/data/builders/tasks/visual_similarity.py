"""Visual similarity from NIGHTS: which of two images people found closer to the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.builders.builder import Candidate, Listing
from latentvr.data.builders.duplicates import DuplicateRules
from latentvr.data.builders.one_of_two import OneOfTwo
from latentvr.data.builders.rules import rule
from latentvr.data.sets import nights

#: The data set's name of each split; its test rows are not used.
_SPLITS = {"train": "train", "validation": "val"}


@dataclass(frozen=True)
class VisualSimilarityRules(DuplicateRules):
    """Parameters of `VisualSimilarity`."""

    train: int | None = rule(1000, "paper", "records of training")
    validation: int | None = rule(250, "paper", "records of validation")
    min_votes: int = rule(
        6, "not in the paper", "fewest people that agree; the data set's own loader asks for 6", 0
    )


class VisualSimilarity(OneOfTwo):
    """A reference image and two candidates, labelled by the vote of people."""

    name = "visual_similarity"
    task = "Visual_Similarity"
    source = "NIGHTS (DreamSim), https://data.csail.mit.edu/nights/nights.zip"
    licence = "MIT"
    rules_type = VisualSimilarityRules
    splits = tuple(_SPLITS)
    others = ("left", "right")
    rules: VisualSimilarityRules

    def candidates(self, split: str) -> Listing:
        """List the rows of a split on which enough people agree."""
        _ = self.duplicates
        rejected: Counter[str] = Counter()
        listed: dict[str, Candidate] = {}
        for row in nights.rows(self.root):
            if row.split != _SPLITS[split]:
                continue
            reason = self._unusable(row) or ("repeated" if row.id in listed else "")
            if reason:
                rejected[reason] += 1
                continue
            files = {"reference": row.reference, "left": row.left, "right": row.right}
            facts: dict[str, Any] = {part: self._name(path) for part, path in files.items()}
            facts |= {"id": row.id, "votes": row.votes, "closer": "right" if row.right_vote else "left"}
            listed[row.id] = Candidate(row.id, facts)
        return Listing(list(listed.values()), rejected)

    def right(self, facts: Mapping[str, Any]) -> str:
        """The image that people voted for."""
        return str(facts["closer"])

    def tables(self) -> Iterable[Path]:
        """The file of votes."""
        return [nights.table(self.root)]

    def _name(self, path: Path) -> str:
        """Path below the root; a table may name one elsewhere, which is refused when it is opened."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def _unusable(self, row: nights.NightsRow) -> str:
        """Rule that rejects a row, "" if none does."""
        if row.votes < self.rules.min_votes:
            return "votes"
        return "" if (row.left_vote, row.right_vote) in ((0, 1), (1, 0)) else "undecided"
