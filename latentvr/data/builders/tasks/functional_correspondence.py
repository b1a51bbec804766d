"""Functional correspondence from FunKPoint: which point of another thing serves the same end in an action?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.correspondence import MarkRules, Matched, asked, far_apart, inside
from latentvr.data.builders.drawing import Point
from latentvr.data.builders.pictures import opened
from latentvr.data.builders.quoted_action import TASK, Wording, from_blink, shipped
from latentvr.data.builders.rules import rule
from latentvr.data.sets.funkpoint import FunkpointRow, labels_file, rows

_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@dataclass(frozen=True)
class FunctionalCorrespondenceRules(MarkRules):
    """Parameters of the functional correspondence builder."""

    train: int | None = rule(1000, "paper", "records of the split")
    validation: int | None = rule(None, "not in the paper", "records of the split; the paper has 144")
    test: int | None = rule(None, "not in the paper", "records of the split; the paper has 146")
    once_per: str = rule(
        "action",
        "not in the paper",
        "where a picture is used once: in the split for each action, or in the split; with the 2,000 "
        "pictures of the data set only the first can give as many records as the paper has",
        one_of=("split", "action"),
    )
    nearest: int = rule(
        30, "not in the paper", "distance of the four points from each other, in pixels", low=0
    )
    blink: str = rule(
        "",
        "not in the paper",
        "folder or parquet file of BLINK, whose wording is used; empty: the shipped one",
    )


class FunctionalCorrespondence(Builder):
    """Makes records of pairs of pictures that serve the same action (arXiv 2512.21218, appendix A).

    Pictures are shared out 80 : 10 : 10, alike for each set of actions; within a split, pictures of the
    same action are shuffled and paired, each used once.
    """

    name = "functional_correspondence"
    task = TASK
    source = "FunKPoint, https://agi-labs.github.io/FuncCorr/"
    licence = "not stated; not to be passed on"
    rules_type = FunctionalCorrespondenceRules
    splits = ("train", "validation", "test")
    rules: FunctionalCorrespondenceRules

    def candidates(self, split: str) -> Listing:
        """List the split's pairs of pictures; rows with a bad keypoint drop out before they are paired."""
        _ = self._wording  # now, so that a wrong BLINK is an error at once and not in a worker
        table = rows(self.root)
        split_of = self._splits(table)
        rejected, good, seen = Counter[str](), list[FunkpointRow](), set[tuple[str, str]]()
        for row in table:
            if split_of[row.name] != split:
                continue
            problem = _problem(row, seen)
            seen.add((row.name, row.action))
            if problem:
                rejected[problem] += 1
            else:
                good.append(row)
        pairs = self._pairs(good, split)
        used = Counter(row.name for pair in pairs for row in pair)
        rejected["unpaired"] = len({row.name for row in good} - set(used))
        return Listing([_candidate(*pair, self.root) for pair in pairs], +rejected)

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Choose four of five keypoints that lie apart on the second picture, one to be asked for."""
        facts = candidate.facts
        files = self.root / facts["images"][0], self.root / facts["images"][1]
        pictures = opened(files, self.root)
        if isinstance(pictures, Rejection):
            return pictures
        left, right = (
            [_pixel(point, picture.size) for point in points]
            for points, picture in zip(facts["points"], pictures, strict=True)
        )
        chosen = far_apart(right, 4, self.rules.nearest, rng)
        if chosen is None:
            return Rejection("crowded_keypoints")
        meta = {
            "source": facts["images"][0],
            "target": facts["images"][1],
            "action": facts["action"],
            "categories": facts["categories"],
            "keypoint": chosen[0] + 1,
        }
        placed = [right[k] for k in chosen]
        matched = Matched((pictures[0], pictures[1]), files, left[chosen[0]], placed[0], placed[1:], meta)
        return asked(TASK, self._wording.asking(facts["action"]), matched, self.rules, rng)

    def tables(self) -> Iterable[Path]:
        """Give the table of labels."""
        return [labels_file(self.root)]

    def notes(self) -> Mapping[str, Any]:
        """Say whose wording is used."""
        return self._wording.notes()

    @cached_property
    def _wording(self) -> Wording:
        return from_blink(Path(self.rules.blink)) if self.rules.blink else shipped()

    def _splits(self, table: Sequence[FunkpointRow]) -> dict[str, str]:
        """Split of every picture: those of each set of actions in turn go where a picture is missing most."""
        actions: dict[str, set[str]] = {}
        for row in table:
            actions.setdefault(row.name, set()).add(row.action)
        groups: dict[tuple[str, ...], list[str]] = {}
        for name in sorted(actions):
            groups.setdefault(tuple(sorted(actions[name])), []).append(name)
        split_of: dict[str, str] = {}
        dealt = Counter[str]()
        for group in sorted(groups):
            names = groups[group]
            for k in self.draws("pictures", *group).permutation(len(names)):
                wanted = {
                    split: share * (len(split_of) + 1) - dealt[split] for split, share in _SHARES.items()
                }
                split = max(wanted, key=wanted.__getitem__)
                split_of[names[int(k)]] = split
                dealt[split] += 1
        return split_of

    def _pairs(self, good: Sequence[FunkpointRow], split: str) -> list[tuple[FunkpointRow, FunkpointRow]]:
        """Pair the pictures of each action; one that is left over may serve a later action."""
        by_action: dict[str, list[FunkpointRow]] = {}
        for row in sorted(good, key=lambda row: row.name):
            by_action.setdefault(row.action, []).append(row)
        pairs, used = [], set[str]()
        # The rarest action first: it has the least to lose to the others.
        for action in sorted(by_action, key=lambda action: (len(by_action[action]), action)):
            own = [row for row in by_action[action] if row.name not in used]
            order = [own[int(k)] for k in self.draws("pairs", split, action).permutation(len(own))]
            new = list(zip(order[::2], order[1::2], strict=False))
            pairs += new
            if self.rules.once_per == "split":
                used |= {row.name for pair in new for row in pair}
        return pairs


def _problem(row: FunkpointRow, seen: set[tuple[str, str]]) -> str:
    """The rule that rejects a row, or ""."""
    if (row.name, row.action) in seen:
        return "repeated_row"
    if not all(inside(point, (2, 2)) for point in row.points):
        return "bad_keypoint"
    return "missing_image" if row.image is None else ""


def _candidate(first: FunkpointRow, second: FunkpointRow, root: Path) -> Candidate:
    files = [row.image.relative_to(root).as_posix() for row in (first, second) if row.image is not None]
    facts = {
        "images": files,
        "points": [first.points, second.points],
        "action": first.action,
        "categories": [first.category, second.category],
    }
    return Candidate(f"{first.action}/{first.name}/{second.name}", facts)


def _pixel(share: Sequence[float], size: tuple[int, int]) -> Point:
    """The point in pixels; the far edge belongs to the last pixel."""
    return min(share[0] * size[0], size[0] - 1.0), min(share[1] * size[1], size[1] - 1.0)
