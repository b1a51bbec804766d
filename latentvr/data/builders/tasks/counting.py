"""Counting from PixMo-Count: images whose links still work, counts evenly spread in training.

The paper's own test is PixMo-Count's, so training and validation are cleared of its pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.duplicates import Duplicates, MatchRules
from latentvr.data.builders.prompts import prompt
from latentvr.data.builders.rules import rule
from latentvr.data.images import MAX_BYTES, decode_image, resolve_image
from latentvr.data.sets import pixmo
from latentvr.data.sets.placed import is_link_out
from latentvr.errors import ImageError, UserError


@dataclass(frozen=True)
class CountingRules(MatchRules):
    """Parameters of `Counting`."""

    train: int | None = rule(1000, "paper", "records of training")
    validation: int | None = rule(
        None, "paper", "records of validation; the paper takes all, 534 at its time"
    )
    test: int | None = rule(None, "paper", "records of the test; the paper takes all, 528 at its time")
    min_count: int = rule(2, "paper", "smallest count in training", 0)
    max_count: int = rule(10, "paper", "largest count in training", 0)


class Counting(Builder):
    """How many objects of a kind are in an image."""

    name = "counting"
    task = "Counting"
    source = "PixMo-Count, https://huggingface.co/datasets/allenai/pixmo-count"
    licence = "ODC-BY; the images belong to their sites"
    rules_type = CountingRules
    splits = pixmo.SPLITS
    rules: CountingRules

    def candidates(self, split: str) -> Listing:
        """List the rows that have an image; those of training are shared out by their count."""
        if split != "test":
            _ = self._duplicates
        rejected: Counter[str] = Counter()
        listed: dict[str, Candidate] = {}
        for row in pixmo.rows(self.root, split):
            key = f"{row.sha256}/{row.label}"
            reason = self._unusable(row, split) or ("repeated" if key in listed else "")
            if reason or row.image is None:
                rejected[reason] += 1
                continue
            facts = {
                "image": row.image.relative_to(self.root).as_posix(),
                "sha256": row.sha256, "label": row.label, "count": row.count, "url": row.url,
            }  # fmt: skip
            # Zeros in front, so that the strata sort as numbers do.
            listed[key] = Candidate(key, facts, f"{row.count:03d}" if split == "train" else "")
        return Listing(list(listed.values()), rejected)

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Ask for the count, unless the file is another one than the row means or repeats a test picture."""
        facts = candidate.facts
        opened = self._opened(facts["image"], facts["sha256"])
        if isinstance(opened, Rejection):
            return opened
        data, picture = opened
        if split != "test" and self._duplicates is not None:
            duplicate = self._duplicates.rejection([picture])
            if duplicate is not None:
                return duplicate
        asked = prompt(self.task, label=facts["label"])
        return Sample(
            prompt=asked,
            question=asked,
            answer=str(facts["count"]),
            answer_type="number",
            images=(data,),
            inputs=(self.root / facts["image"],),
            meta={"source": facts["image"], **{name: facts[name] for name in ("sha256", "label", "url")}},
        )

    def tables(self) -> Iterable[Path]:
        """The parquet files of all splits: the test's are read for its pictures."""
        return [file for split in self.splits for file in pixmo.tables(self.root, split)]

    def notes(self) -> Mapping[str, Any]:
        """What was compared, and which test pictures have survived: there are fewer of them every year."""
        if self._duplicates is None:
            return {"duplicates": "not looked for"}
        return {"duplicates": self._duplicates.notes(), "test_images": sorted(self._duplicates.names)}

    def _unusable(self, row: pixmo.PixmoRow, split: str) -> str:
        """Rule that rejects a row, "" if none does; the paper bounds counts in training alone."""
        if split == "train" and not self.rules.min_count <= row.count <= self.rules.max_count:
            return "count"
        if not row.label:
            return "label"
        return "dead" if row.image is None else ""

    def _opened(self, name: str, digest: str) -> tuple[bytes, Image.Image] | Rejection:
        """Bytes and picture of a file; a link may have come to lead to another picture."""
        if is_link_out(self.root / name, self.root):
            return Rejection("link_out_of_root")
        try:
            with resolve_image(name, self.root, self.name).open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
            if len(data) <= MAX_BYTES and sha256(data).hexdigest() != digest:
                return Rejection("hash")
            return data, decode_image(data, name)
        except (ImageError, OSError):
            return Rejection("unreadable_image")

    @cached_property
    def _duplicates(self) -> Duplicates | None:
        return None if self.rules.dedup == "off" else Duplicates(self._references(), self.rules)

    def _references(self) -> Iterator[tuple[str, Image.Image]]:
        """Test pictures that are there and are what their rows mean."""
        rows = pixmo.rows(self.root, "test")
        there = {row.sha256: row.image.relative_to(self.root).as_posix() for row in rows if row.image}
        alive = 0
        for digest, name in there.items():
            opened = self._opened(name, digest)
            if not isinstance(opened, Rejection):
                alive += 1
                yield digest, opened[1]
        if not alive:
            raise UserError(
                f"expected test images, which training must not repeat, got none, at {self.root / 'images'}; "
                "fix: download them, or dedup=off"
            )
