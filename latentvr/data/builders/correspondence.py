"""What the correspondence tasks share: a reference point on one picture, four lettered points on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentvr.data.builders.builder import Generator, Sample
from latentvr.data.builders.drawing import Point, circles
from latentvr.data.builders.prompts import before_choices, options
from latentvr.data.builders.rules import Rules, rule
from latentvr.data.record import Box

LETTERS = "ABCD"


@dataclass(frozen=True)
class MarkRules(Rules):
    """How points are marked, the same for all correspondence tasks."""

    radius: int = rule(10, "not in the paper", "radius of a circle, in pixels", low=1)
    line: int = rule(3, "not in the paper", "width of a circle's line, in pixels", low=1)
    region: int = rule(
        0,
        "not in the paper",
        "side in pixels of the region of interest round the reference point and the right one; 0 for none",
        low=0,
    )


@dataclass(frozen=True)
class Matched:
    """Two pictures, a point on the first and four on the second.

    Attributes:
        pictures: RGB, without marks.
        files: that it was made of.
        reference: point on the first picture, (x, y) in pixels.
        truth: the same point on the second picture.
        others: three wrong points on the second picture.
        meta: where it comes from.
    """

    pictures: tuple[Image.Image, Image.Image]
    files: tuple[Path, ...]
    reference: Point
    truth: Point
    others: Sequence[Point]
    meta: Mapping[str, Any]


def asked(task: str, text: str, matched: Matched, rules: MarkRules, rng: Generator) -> Sample:
    """Draw the marks, with random letters, and put the question.

    Args:
        task: as the wording is called.
        text: the prompt.
        matched: pictures and points.
        rules: how points are marked.
        rng: draws the letters.

    Returns:
        The sample; its meta holds the position of each mark under "points".
    """
    points = [matched.truth, *matched.others]
    order = [int(k) for k in rng.permutation(len(points))]
    placed = [points[k] for k in order]
    first = circles(matched.pictures[0], [matched.reference], ["REF"], rules.radius, rules.line)
    second = circles(matched.pictures[1], placed, LETTERS, rules.radius, rules.line)
    marks = {"REF": matched.reference, **dict(zip(LETTERS, placed, strict=True))}
    return Sample(
        prompt=text,
        answer=LETTERS[order.index(0)],
        answer_type="mcq",
        images=(first, second),
        inputs=matched.files,
        question=before_choices(text),
        choices=options(task),
        bboxes=_regions(matched, rules.region),
        meta={**matched.meta, "points": {name: list(point) for name, point in marks.items()}},
    )


def far_apart(points: Sequence[Point], count: int, distance: float, rng: Generator) -> list[int] | None:
    """Choose points at random of which no two are nearer than a distance.

    Args:
        points: to choose from.
        count: how many.
        distance: in pixels.
        rng: draws the choice.

    Returns:
        Indices in random order, or None where there is no such choice.
    """
    order = [int(k) for k in rng.permutation(len(points))]
    near = {
        pair
        for pair in combinations(sorted(order), 2)
        if np.hypot(*np.subtract(points[pair[0]], points[pair[1]])) < distance
    }
    chosen = _extended([], order, count, near)
    return [chosen[int(k)] for k in rng.permutation(count)] if chosen is not None else None


def inside(point: Point, size: tuple[int, int], margin: float = 0) -> bool:
    """Whether a point is finite and at least `margin` pixels from the border of a picture of that size."""
    x, y = point
    # A NaN fails every comparison.
    return margin <= x <= size[0] - 1 - margin and margin <= y <= size[1] - 1 - margin


def _extended(chosen: list[int], rest: list[int], count: int, near: set[tuple[int, int]]) -> list[int] | None:
    """Search depth first for more indices of which no two are near."""
    if len(chosen) == count:
        return chosen
    for at, one in enumerate(rest):
        if all((min(one, other), max(one, other)) not in near for other in chosen):
            found = _extended([*chosen, one], rest[at + 1 :], count, near)
            if found is not None:
                return found
    return None


def _regions(matched: Matched, side: int) -> tuple[Box, ...]:
    """Squares round the reference point and the right one, cut at the border, normalised."""
    if not side:
        return ()
    boxes = []
    for k, (x, y) in enumerate((matched.reference, matched.truth)):
        width, height = matched.pictures[k].size
        half, x, y = side / 2, x + 0.5, y + 0.5
        corners = ((x - half) / width, (y - half) / height, (x + half) / width, (y + half) / height)
        x0, y0, x1, y1 = (float(min(max(value, 0.0), 1.0)) for value in corners)
        boxes.append(Box(k, (x0, y0, x1, y1)))
    return tuple(boxes)
