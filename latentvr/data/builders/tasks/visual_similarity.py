"""Visual similarity from NIGHTS: which of two images people found closer to the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from latentvr.data.builders.against_blink import against_blink
from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.duplicates import DuplicateRules, Duplicates
from latentvr.data.builders.pictures import open_file
from latentvr.data.builders.prompts import options, prompt, question
from latentvr.data.builders.rules import rule
from latentvr.data.images import FORMATS
from latentvr.data.sets import nights
from latentvr.errors import ImageError

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


class VisualSimilarity(Builder):
    """A reference image and two candidates, labelled by the vote of people."""

    name = "visual_similarity"
    task = "Visual_Similarity"
    source = "NIGHTS (DreamSim), https://data.csail.mit.edu/nights/nights.zip"
    licence = "MIT"
    rules_type = VisualSimilarityRules
    splits = tuple(_SPLITS)
    rules: VisualSimilarityRules

    def candidates(self, split: str) -> Listing:
        """List the rows of a split on which enough people agree."""
        _ = self._duplicates
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

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Show the reference, then the two candidates in a drawn order."""
        facts = candidate.facts
        order = ["left", "right"] if rng.random() < 0.5 else ["right", "left"]
        paths = [self.root / facts[part] for part in ("reference", *order)]
        try:
            pictures = [open_file(path, self.root, FORMATS, upright=True) for path in paths]
        except ImageError:
            return Rejection("unreadable")
        if self._duplicates is not None and (duplicate := self._duplicates.rejection(pictures)):
            return duplicate
        return Sample(
            prompt=prompt(self.task),
            question=question(self.task),
            choices=options(self.task),
            answer="AB"[order.index(facts["closer"])],
            answer_type="mcq",
            images=tuple(paths),
            inputs=tuple(paths),
            meta={"source": facts["reference"], **facts},
        )

    def size(self, split: str) -> int | None:
        """How many records the split shall have."""
        return self.rules.train if split == "train" else self.rules.validation

    def tables(self) -> Iterable[Path]:
        """The file of votes."""
        return [nights.table(self.root)]

    def notes(self) -> Mapping[str, Any]:
        """What was compared for duplicates."""
        return {"duplicates": self._duplicates.notes() if self._duplicates else "not looked for"}

    @cached_property
    def _duplicates(self) -> Duplicates | None:
        return against_blink(self.rules, self.task, self.name)

    def _name(self, path: Path) -> str:
        """Path below the root; a table may name one elsewhere, which is refused when it is opened."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def _unusable(self, row: nights.NightsRow) -> str:
        """Rule that rejects a row, "" if none does."""
        if row.votes < self.rules.min_votes:
            return "votes"
        return "" if (row.left_vote, row.right_vote) in ((0, 1), (1, 0)) else "undecided"
