"""Semantic correspondence from SPair-71k: which keypoint of another animal or thing is the marked one?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from latentvr.data.builders.against_blink import AgainstBlink
from latentvr.data.builders.builder import Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.correspondence import MarkRules, Matched, asked, far_apart, inside
from latentvr.data.builders.duplicates import DuplicateRules
from latentvr.data.builders.held_out import held_out
from latentvr.data.builders.pictures import opened
from latentvr.data.builders.prompts import prompt
from latentvr.data.builders.rules import rule
from latentvr.data.sets import spair

_PART = "trn"


@dataclass(frozen=True)
class SemanticCorrespondenceRules(DuplicateRules, MarkRules):
    """Parameters of the semantic correspondence builder; distances follow a third party's reproduction."""

    train: int | None = rule(1000, "paper", "records of the split")
    validation: int | None = rule(250, "paper", "records of the split")
    keypoints: int = rule(4, "paper", "fewest valid keypoints of a pair", low=4)
    layout: str = rule("large", "not in the paper", "list of pairs that is used", one_of=("large", "small"))
    disjoint: str = rule(
        "image",
        "not in the paper",
        "what train and validation do not share: pictures, in whatever category, or pairs alone",
        one_of=("image", "pair"),
    )
    held_out: float = rule(0.2, "not in the paper", "share kept for validation", low=0.01, high=0.99)
    # Lower than elsewhere: circles are drawn on BLINK's pictures (figures in `duplicates`).
    min_ssim: float = rule(
        0.9, "not in the paper", "smallest SSIM of a duplicate; low, as BLINK's pictures bear circles", -1, 1
    )
    nearest: int = rule(
        60, "not in the paper", "distance of the four points from each other, in pixels", low=0
    )
    margin: int = rule(20, "not in the paper", "distance of every point from the border, in pixels", low=0)


class SemanticCorrespondence(AgainstBlink):
    """Makes records of the pairs of SPair-71k's part "trn" (arXiv 2512.21218, appendix A)."""

    name = "semantic_correspondence"
    task = "Semantic_Correspondence"
    source = "SPair-71k, http://cvlab.postech.ac.kr/research/SPair-71k/"
    licence = "terms of PASCAL VOC and Flickr; not to be passed on"
    rules_type = SemanticCorrespondenceRules
    splits = ("train", "validation")
    rules: SemanticCorrespondenceRules

    def candidates(self, split: str) -> Listing:
        """List the pairs of a split; a pair of one picture of each split belongs to neither."""
        # Now, so that a missing BLINK is an error at once and not in a worker.
        _ = self.duplicates
        listed, rejected = [], Counter[str]()
        for name, own in self._splits():
            if own == split:
                facts = {"stem": name.stem, "category": name.category}
                listed.append(Candidate(f"{name.stem}-{name.category}", facts))
            elif own == "both":
                rejected["pictures_of_both_splits"] += 1
        return Listing(listed, rejected)

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Choose four keypoints that lie apart on the second picture, one of them to be asked for."""
        file = spair.annotation_file(self.root, _PART, spair.PairName(**candidate.facts))
        if file is None:
            return Rejection("missing_annotation")
        pair = spair.read_pair(self.root, file)
        pictures = opened(pair.images, self.root)
        if isinstance(pictures, Rejection):
            return pictures
        if tuple(picture.size for picture in pictures) != pair.sizes:
            return Rejection("size")
        chosen = self._chosen(pair, rng)
        if isinstance(chosen, Rejection):
            return chosen
        match = self.duplicates.pair(*pictures) if self.duplicates is not None else None
        if match is not None:
            return Rejection("duplicate", match.to_detail())
        meta = {
            "source": pair.images[0].relative_to(self.root).as_posix(),
            "target": pair.images[1].relative_to(self.root).as_posix(),
            "category": candidate.facts["category"],
            "keypoint": pair.ids[chosen[0]] if chosen[0] < len(pair.ids) else "",
        }
        reference, *_ = pair.keypoints[chosen[0]]
        placed = [pair.keypoints[k][1] for k in chosen]
        files = (*pair.images, file)
        matched = Matched((pictures[0], pictures[1]), files, reference, placed[0], placed[1:], meta)
        return asked(self.task, prompt(self.task), matched, self.rules, rng)

    def tables(self) -> Iterable[Path]:
        """Give the list of pairs."""
        return [spair.layout_file(self.root, _PART, self.rules.layout)]

    def _splits(self) -> Iterator[tuple[spair.PairName, str]]:
        """Every pair with its split, or "both"."""
        names = spair.pair_names(self.root, _PART, self.rules.layout)
        share, kept = self.rules.held_out, set[str]()
        if self.rules.disjoint == "pair":
            kept |= held_out((name.stem for name in names), share, self.draws("held out"))
            yield from ((name, "validation" if name.stem in kept else "train") for name in names)
            return
        # By category, so that validation has pairs of each; a photograph that shows things of two
        # categories is dealt once, with the first of them.
        dealt = set[str]()
        for category in sorted({name.category for name in names}):
            own = [name for name in names if name.category == category]
            pictures = {picture for name in own for picture in (name.source, name.target)} - dealt
            kept |= held_out(pictures, share, self.draws("held out", category))
            dealt |= pictures
        for name in names:
            back = (name.source in kept) + (name.target in kept)
            yield name, ("train", "both", "validation")[back]

    def _chosen(self, pair: spair.Pair, rng: Generator) -> list[int] | Rejection:
        """Four keypoints at random, the one that is asked for first."""
        # The paper's condition comes before ours, so that the manifest's counts tell them apart.
        if len(self._valid(pair, 0)) < self.rules.keypoints:
            return Rejection("few_keypoints")
        valid = self._valid(pair, self.rules.margin)
        found = far_apart([pair.keypoints[k][1] for k in valid], 4, self.rules.nearest, rng)
        return Rejection("crowded_keypoints") if found is None else [valid[k] for k in found]

    def _valid(self, pair: spair.Pair, margin: int) -> list[int]:
        """Keypoints that lie in both pictures."""
        return [
            k
            for k, points in enumerate(pair.keypoints)
            if all(inside(point, size, margin) for point, size in zip(points, pair.sizes, strict=True))
        ]
