"""Relative reflectance from MID (arXiv 2512.21218, appendix A): which of two points has the darker albedo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentvr.data.builders.albedo import Linear, luminance, read_albedo
from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.drawing import circles
from latentvr.data.builders.held_out import held_out
from latentvr.data.builders.pictures import open_file
from latentvr.data.builders.prompts import options, prompt, question
from latentvr.data.builders.rules import Rules, rule
from latentvr.data.sets import mid
from latentvr.errors import ImageError

NO_PAPER: Final = "not in the paper"
# Sides of image and albedo may be rounded apart by a pixel or two where one is the other made smaller.
_ASPECT = 0.01


@dataclass(frozen=True)
class RelativeReflectanceRules(Rules):
    """Parameters of the task.

    Attributes:
        train: records for training.
        validation: records for validation.
        albedo: folder of the albedo.
        threshold: largest relative difference of points that are about the same.
        same: share of records whose points are about the same.
        disk: radius that the luminance is averaged over.
        circle: radius of the drawn circles.
        line: width of their lines.
        distance: of the two points, at least.
        tries: points drawn per image.
        mip: level of detail of the images.
        scenes: number of scenes that are used.
        scene_disjoint: whether a scene is in one split only.
        validation_share: share of the pool that validation is drawn from.
    """

    train: int | None = rule(1000, "paper", "records for training")
    validation: int | None = rule(250, "paper", "records for validation")
    albedo: str = rule("", NO_PAPER, "folder of MIDIntrinsics' albedo; empty: beside the images")
    threshold: float = rule(
        0.10, "paper", "|YA - YB| / max(YA, YB) up to which colours are about the same", low=0.0, high=1.0
    )
    same: float = rule(0.25, "paper", "share of records that are about the same", low=0.0, high=1.0)
    disk: int = rule(
        15, NO_PAPER, "radius in pixels of the disk of mean luminance; a third-party guess", low=1
    )
    circle: int = rule(15, NO_PAPER, "radius in pixels of the circle drawn round a point", low=2)
    line: int = rule(3, NO_PAPER, "width in pixels of the circle's line", low=1)
    distance: float = rule(
        80.0, NO_PAPER, "smallest distance in pixels of the two points; a third-party guess", low=0.0
    )
    tries: int = rule(48, NO_PAPER, "points drawn in an image, all pairs of which are looked at", low=2)
    mip: int = rule(2, NO_PAPER, "level of detail of the images; 2 is 1500 x 1000 pixels", low=0, high=10)
    scenes: int | None = rule(
        None, NO_PAPER, "scenes drawn from the training ones; the paper has a subset", low=1
    )
    scene_disjoint: bool = rule(
        False, NO_PAPER, "whether a scene is in one split only; the paper does not say so"
    )
    validation_share: float = rule(
        0.2, NO_PAPER, "share of the pairs (or scenes) that validation is drawn from", low=0.0, high=0.9
    )


class RelativeReflectance(Builder):
    """One record for each pair of an image and its scene's albedo; the light decides nothing but the look."""

    name = "relative_reflectance"
    task = "Relative_Reflectance"
    source = (
        "MID (projects.csail.mit.edu/illumination) with the albedo of MIDIntrinsics (compphoto/MIDIntrinsics)"
    )
    licence = "albedo: CC BY-NC-SA 4.0; images: see the project's page"
    rules_type = RelativeReflectanceRules
    splits = ("train", "validation")
    rules: RelativeReflectanceRules

    def shares(self, split: str) -> Mapping[str, float]:  # noqa: ARG002
        """Share of records whose points are about the same."""
        return {"same": self.rules.same, "different": 1 - self.rules.same}

    def candidates(self, split: str) -> Listing:
        """List the pairs of the split; a stratum says which answer is looked for in a pair."""
        pool = self._pool()
        rejected = {"test_scene": sum(len(scene.images) for scene in pool if scene.test)}
        pool = self._subset([scene for scene in pool if not scene.test])
        rejected["no_albedo"] = sum(len(scene.images) for scene in pool if scene.albedo is None)
        pairs = {
            f"{scene.name}/dir_{light}": (scene, path)
            for scene in pool
            if scene.albedo is not None
            for light, path in scene.images.items()
        }
        group = {key: scene.name if self.rules.scene_disjoint else key for key, (scene, _) in pairs.items()}
        kept = held_out(group.values(), self.rules.validation_share, self.draws("held out"))
        mine = sorted(key for key in pairs if (group[key] in kept) == (split == "validation"))
        strata = self._strata(split, mine)
        listed = [
            Candidate(
                key,
                {"image": str(pairs[key][1]), "albedo": str(pairs[key][0].albedo)},
                strata[key],
            )
            for key in mine
        ]
        return Listing(listed, {name: count for name, count in rejected.items() if count})

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Choose two points with the wanted answer and draw circles round them."""
        files = Path(candidate.facts["image"]), Path(candidate.facts["albedo"])
        try:
            image = open_file(files[0], self.root)
        except ImageError:
            return Rejection("unreadable_image")
        brightness = luminance(read_albedo(files[1], self._albedo_root()))
        scale = brightness.shape[1] / image.width, brightness.shape[0] / image.height
        if abs(scale[0] / scale[1] - 1) > _ASPECT:
            return Rejection("size")
        drawn = self._points(image, brightness, rng)
        found = self._pair(drawn, candidate.stratum == "same", rng)
        if found is None:
            return Rejection("no_pair")
        return self._sample(image, found, files, scale)

    def notes(self) -> Mapping[str, Any]:
        """Say what a split keeps apart."""
        return {"kept apart by": "scene" if self.rules.scene_disjoint else "pair of image and albedo"}

    def _pool(self) -> list[mid.Scene]:
        folder = Path(self.rules.albedo) if self.rules.albedo else None
        return mid.scenes(self.root, folder, self.rules.mip)

    def _subset(self, scenes: list[mid.Scene]) -> list[mid.Scene]:
        if self.rules.scenes is None:
            return scenes
        return [scenes[i] for i in sorted(self.draws("scenes").permutation(len(scenes))[: self.rules.scenes])]

    def _strata(self, split: str, keys: list[str]) -> dict[str, str]:
        """Deal the wanted answers by their share, whatever the light or the scene is."""
        count = round(self.rules.same * len(keys))
        same = {keys[i] for i in self.draws("strata", split).permutation(len(keys))[:count]}
        return {key: "same" if key in same else "different" for key in keys}

    def _albedo_root(self) -> Path:
        return Path(self.rules.albedo) if self.rules.albedo else self.root

    def _points(self, image: Image.Image, brightness: Linear, rng: Generator) -> list[tuple[int, int, float]]:
        """Draw points with the mean luminance round them; none where the albedo is unknown."""
        margin = max(self.rules.disk, self.rules.circle + self.rules.line) + 1
        if min(image.size) <= 2 * margin:
            return []
        x = rng.integers(margin, image.width - margin, self.rules.tries)
        y = rng.integers(margin, image.height - margin, self.rules.tries)
        made = []
        for column, row in zip(x.tolist(), y.tolist(), strict=True):
            mean = disk_mean(brightness, image.size, (column, row), self.rules.disk)
            if mean is not None:
                made.append((column, row, mean))
        return made

    def _pair(
        self, points: list[tuple[int, int, float]], same: bool, rng: Generator
    ) -> tuple[tuple[int, int, float], tuple[int, int, float]] | None:
        pairs = list(combinations(points, 2))
        for at in rng.permutation(len(pairs)):
            a, b = pairs[at] if rng.random() < 0.5 else pairs[at][::-1]
            apart = np.hypot(a[0] - b[0], a[1] - b[1]) >= self.rules.distance
            if apart and (relative_difference(a[2], b[2]) <= self.rules.threshold) == same:
                return a, b
        return None

    def _sample(
        self,
        image: Image.Image,
        found: tuple[tuple[int, int, float], tuple[int, int, float]],
        files: tuple[Path, Path],
        scale: tuple[float, float],
    ) -> Sample:
        a, b = found
        difference = relative_difference(a[2], b[2])
        answer = "C" if difference <= self.rules.threshold else "A" if a[2] < b[2] else "B"
        places = [(float(x), float(y)) for x, y, _ in found]
        return Sample(
            prompt=prompt(self.task),
            answer=answer,
            answer_type="mcq",
            images=(circles(image, places, ("A", "B"), self.rules.circle, self.rules.line),),
            inputs=files,
            question=question(self.task),
            choices=options(self.task),
            meta={
                "source": files[0].relative_to(self.root).as_posix(),
                "points": [[x, y] for x, y, _ in found],
                "luminance": [value for _, _, value in found],
                "difference": difference,
                "albedo_scale": list(scale),
            },
        )


def relative_difference(a: float, b: float) -> float:
    """Difference of two luminances by the larger one (arXiv 2512.21218, appendix A)."""
    return abs(a - b) / max(a, b, 1e-8)


def disk_mean(brightness: Linear, size: tuple[int, int], point: tuple[int, int], radius: int) -> float | None:
    """Average the luminance of the albedo over a disk.

    Args:
        brightness: of the albedo (height, width), at any resolution.
        size: width and height of the image whose pixels are counted.
        point: centre (x, y) in the image's pixels.
        radius: in the image's pixels.

    Returns:
        The mean, or None where a value in the disk is zero, negative or not finite: nothing is known there.
    """
    height, width = brightness.shape
    scale_x, scale_y = width / size[0], height / size[1]
    x, y = (point[0] + 0.5) * scale_x - 0.5, (point[1] + 0.5) * scale_y - 0.5
    # At least the pixel that the point lies in, however coarse the albedo is.
    reach_x, reach_y = max(radius * scale_x, 0.5), max(radius * scale_y, 0.5)
    left, top = max(int(np.ceil(x - reach_x)), 0), max(int(np.ceil(y - reach_y)), 0)
    part = brightness[top : int(np.floor(y + reach_y)) + 1, left : int(np.floor(x + reach_x)) + 1]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    inside: NDArray[np.bool_] = ((columns - x) / reach_x) ** 2 + ((rows - y) / reach_y) ** 2 <= 1
    values = part[inside]
    if not values.size or not np.isfinite(values).all() or values.min() <= 0:
        return None
    return float(values.mean(dtype=np.float64))
