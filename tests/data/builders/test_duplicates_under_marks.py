"""Copies are found though the test's marks are drawn on them, and other places of a picture are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import sklearn.datasets
from PIL import Image

from latentvr.data.builders.drawing import boxes, circles
from latentvr.data.builders.duplicates import Duplicates, MatchRules
from latentvr.data.builders.tasks.localization import LocalizationRules
from latentvr.data.builders.tasks.semantic_correspondence import SemanticCorrespondenceRules

PHOTOS = {
    **{
        name: Path(skimage.data.__file__).parent / name
        for name in ("chelsea.png", "coffee.png", "rocket.jpg")
    },
    **{
        name: Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")
    },
}


@pytest.fixture(scope="module")
def textures(make):
    return make("textures")


def _boxed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Two boxes of a localization question, about half of the picture each."""
    size = np.array(image.size)
    shown = []
    for _ in range(2):
        extent = rng.uniform(0.35, 0.75, 2)
        corner = rng.uniform(0, 1 - extent)
        shown.append((*(corner * size).tolist(), *((corner + extent) * size).tolist()))
    return boxes(image, shown, "AB", 3, ["red", "blue"])


def _circled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Four circles of a correspondence question."""
    points = [tuple(rng.uniform(30, np.array(image.size) - 30).tolist()) for _ in range(4)]
    return circles(image, points, "ABCD", 10, 3)


@pytest.mark.parametrize(
    ("mark", "rules", "also_blurred"),
    [
        (_boxed, LocalizationRules(dedup="off"), True),
        (_circled, SemanticCorrespondenceRules(dedup="off"), False),
    ],
)
def test_copies_that_bear_the_marks_of_the_test_are_found(
    textures, mark: Callable, rules: MatchRules, also_blurred: bool
) -> None:
    rng, originals, marked = np.random.default_rng(0), [], []
    for name in PHOTOS:
        image = Image.open(PHOTOS[name]).convert("RGB")
        image.thumbnail((500, 500))
        w, h = image.size
        # Another place of the same photograph is another picture.
        places = {"whole": image, "left": image.crop((0, 0, w * 6 // 10, h)),
                  "right": image.crop((w * 4 // 10, 0, w, h))}  # fmt: skip
        originals += [(f"{name} {place}", picture) for place, picture in places.items()]
    for name, picture in originals:
        marked += [(f"{name}#{k}", textures.jpeg(mark(picture, rng), 85)) for k in range(3)]

    def found(min_ssim: float) -> set[tuple[str, str]]:
        search = Duplicates(marked, replace(rules, min_ssim=min_ssim), also_blurred)
        matches = [
            (name, match.reference)
            for name, picture in originals
            for by in search._views
            for match in search._matches(picture, by).values()
        ]
        assert [pair for pair in matches if pair[0] != pair[1].partition("#")[0]] == []
        return set(matches)

    assert len(found(rules.min_ssim)) > 0.8 * len(marked)
    assert len(found(0.95)) < len(found(rules.min_ssim)) - 0.1 * len(marked)
