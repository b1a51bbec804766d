"""Visual correspondence from HPatches: which point of a second view is the marked one of the first?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.correspondence import MarkRules, Matched, asked, inside
from latentvr.data.builders.drawing import Point
from latentvr.data.builders.pictures import opened
from latentvr.data.builders.prompts import prompt
from latentvr.data.builders.rules import rule
from latentvr.data.sets.hpatches import COUNT, KINDS, Scene, homography, scenes

_SMALLEST_CONDITION = 1e-9


@dataclass(frozen=True)
class VisualCorrespondenceRules(MarkRules):
    """Parameters of the visual correspondence builder; distances follow a third party's reproduction."""

    train: int | None = rule(1000, "paper", "records of the split")
    validation: int | None = rule(500, "paper", "records of the split")
    test: int | None = rule(700, "paper", "records of the split")
    min_step: int = rule(2, "paper", "smallest difference of the two pictures' numbers", low=1, high=5)
    per_pair: int = rule(12, "not in the paper", "most reference points of a pair of pictures", low=1)
    margin: int = rule(30, "not in the paper", "distance of every point from the border, in pixels", low=0)
    apart: int = rule(60, "not in the paper", "distance of a pair's reference points, in pixels", low=0)
    nearest: int = rule(
        60, "not in the paper", "distance of the four points from each other, in pixels", low=1
    )
    farthest: int = rule(
        250,
        "not in the paper",
        "largest distance of the four points from each other, in pixels: diameter of a disk round them",
        low=1,
    )
    tries: int = rule(1000, "not in the paper", "draws of points before they are given up", low=1)


class VisualCorrespondence(Builder):
    """Makes records of pairs of pictures, which their homographies connect.

    Sequences of each kind are shuffled and shared out 80 : 10 : 10 (arXiv 2512.21218, appendix A).
    """

    name = "visual_correspondence"
    task = "Visual_Correspondence"
    source = "HPatches, full sequences, https://github.com/hpatches/hpatches-dataset"
    licence = "MIT; the pictures keep their own terms"
    rules_type = VisualCorrespondenceRules
    splits = ("train", "validation", "test")
    rules: VisualCorrespondenceRules

    def candidates(self, split: str) -> Listing:
        """List each pair's reference points by number; a pair with a singular homography drops out."""
        listed, singular = [], 0
        for scene in self._split(split):
            usable = _usable(scene)
            for i, j in combinations(range(1, COUNT + 1), 2):
                if j - i < self.rules.min_step:
                    continue
                if not usable[i - 1] or not usable[j - 1]:
                    singular += 1
                    continue
                facts = {
                    "first": self._relative(scene.images[i - 1]),
                    "second": self._relative(scene.images[j - 1]),
                    "homography": (_from_first(scene, j) @ np.linalg.inv(_from_first(scene, i))).tolist(),
                }
                listed += [
                    Candidate(f"{scene.name}/{i}-{j}#{k}", {**facts, "number": k})
                    for k in range(self.rules.per_pair)
                ]
        return Listing(listed, {"singular": singular} if singular else {})

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:
        """Draw the pair's points up to the candidate's, project the last, and draw three others near it."""
        facts = candidate.facts
        files = self.root / facts["first"], self.root / facts["second"]
        pictures = opened(files, self.root)
        if isinstance(pictures, Rejection):
            return pictures
        first, second = pictures
        matrix = np.array(facts["homography"])
        pair = candidate.key.partition("#")[0]
        # The points of a pair keep their distance, so all of them come from the pair's one stream.
        stream = self.draws("points", split, pair)
        points: list[Point] = []
        for _ in range(facts["number"] + 1):
            point = self._reference(points, matrix, (first.size, second.size), stream)
            if point is None:
                return Rejection("no_reference_point")
            points.append(point)
        truth = projected(points[-1], matrix)
        others = self._others(truth, second.size, rng)
        if others is None:
            return Rejection("no_distractor")
        meta = {"source": facts["first"], "target": facts["second"], "homography": facts["homography"]}
        matched = Matched((first, second), files, points[-1], truth, others, meta)
        return asked(self.task, prompt(self.task), matched, self.rules, rng)

    def tables(self) -> Iterable[Path]:
        """Give the files of all homographies."""
        return [file for scene in scenes(self.root) for file in scene.homographies]

    def _split(self, split: str) -> list[Scene]:
        """Sequences of a split: of each kind, a tenth for validation and for test, rounded, and the rest."""
        chosen = []
        everything = scenes(self.root)
        for kind in KINDS:
            own = [scene for scene in everything if scene.kind == kind]
            order = [own[int(k)] for k in self.draws("sequences", kind).permutation(len(own))]
            tenth = round(len(own) / 10)
            parts = {
                "validation": order[:tenth],
                "test": order[tenth : 2 * tenth],
                "train": order[2 * tenth :],
            }
            chosen += parts[split]
        return sorted(chosen, key=lambda scene: scene.name)

    def _reference(
        self,
        before: list[Point],
        matrix: np.ndarray,
        sizes: tuple[tuple[int, int], tuple[int, int]],
        stream: Generator,
    ) -> Point | None:
        """Draw a point away from the border and from those before it, whose projection is inside too."""
        margin = self.rules.margin
        for _ in range(self.rules.tries):
            point = _drawn(sizes[0], margin, stream)
            if point is None:
                return None
            if all(_distance(point, other) >= self.rules.apart for other in before) and inside(
                projected(point, matrix), sizes[1], margin
            ):
                return point
        return None

    def _others(self, truth: Point, size: tuple[int, int], rng: Generator) -> list[Point] | None:
        """Draw three points that with the truth are four of a kind: nothing in their places tells it.

        Were they drawn round the truth, it would be the middle one. So all four lie in a disk whose centre
        is drawn round the truth, and a set that is not wholly allowed is drawn anew with its centre.
        """
        radius, margin = self.rules.farthest / 2, self.rules.margin
        centres = np.array(truth) + _in_disk((self.rules.tries, 1), radius, rng)
        others = centres + _in_disk((self.rules.tries, 3), radius, rng)
        inner = (others >= margin) & (others <= np.array(size) - 1 - margin)
        four = np.concatenate([np.broadcast_to(truth, (len(others), 1, 2)), others], axis=1)
        apart = [
            np.linalg.norm(four[:, i] - four[:, j], axis=-1) >= self.rules.nearest
            for i, j in combinations(range(4), 2)
        ]
        found = np.flatnonzero(inner.all(axis=(1, 2)) & np.all(apart, axis=0))
        return [(float(x), float(y)) for x, y in others[found[0]]] if len(found) else None

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()


def projected(point: Point, matrix: np.ndarray) -> Point:
    """Project a point by a homography.

    Args:
        point: (x, y) in pixels.
        matrix: (3, 3), not singular.

    Returns:
        (x, y) in pixels of the other picture; NaN for a point behind the camera.
    """
    x, y, w = (float(value) for value in matrix @ (point[0], point[1], 1.0))
    # Two views of one side of a plane keep its orientation: the map's determinant there is det / w^3.
    if w == 0 or np.linalg.det(matrix) / w**3 <= 0:
        return float("nan"), float("nan")
    return x / w, y / w


def _from_first(scene: Scene, k: int) -> np.ndarray:
    return np.eye(3) if k == 1 else homography(scene.homographies[k - 2])


def _usable(scene: Scene) -> list[bool]:
    """Whether each picture's homography can be inverted."""
    return [
        bool(np.linalg.cond(_from_first(scene, k)) < 1 / _SMALLEST_CONDITION) for k in range(1, COUNT + 1)
    ]


def _drawn(size: tuple[int, int], margin: int, stream: Generator) -> Point | None:
    """Draw a point at least `margin` from the border, or None in too small a picture.

    Not the centre of a pixel: a projected point is none either, and its soft circle would look otherwise.
    """
    if min(size) <= 2 * margin:
        return None
    x, y = (float(stream.uniform(margin, side - 1 - margin)) for side in size)
    return x, y


def _in_disk(shape: tuple[int, int], radius: float, rng: Generator) -> np.ndarray:
    """Draw offsets (*shape, 2), uniform in a disk."""
    far, angle = radius * np.sqrt(rng.uniform(size=shape)), rng.uniform(0, 2 * np.pi, shape)
    return np.stack([far * np.cos(angle), far * np.sin(angle)], axis=-1)


def _distance(one: Point, other: Point) -> float:
    return float(np.hypot(one[0] - other[0], one[1] - other[1]))
