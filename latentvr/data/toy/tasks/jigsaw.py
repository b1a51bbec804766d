"""Jigsaw: which of two patches fills the black lower right quadrant of a photograph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentvr.data.record import Box
from latentvr.data.toy.example import Draw, Example, Task
from latentvr.data.toy.glyphs import LETTERS
from latentvr.data.toy.scenes import Pixels
from latentvr.data.toy.sources import PHOTOS, photo, photo_region

QUESTION = "which image is the missing part ?"
CHOICES = ("the second image", "the third image")
SIDES = (64, 128)
MIN_CONTRAST = 6.0

Square = tuple[int, int, int]


def _make(draw: Draw) -> Example:
    rng = draw.rng
    name, crop, decoy = _choose(rng, draw.split)
    x, y, side = crop
    half = side // 2
    whole = _cut(name, crop, draw.size)
    whole[draw.size // 2 :, draw.size // 2 :] = 0
    patches = [_cut(name, decoy, draw.size), _cut(name, decoy, draw.size)]
    patches[draw.rank] = _cut(name, (x + half, y + half, half), draw.size)
    return Example(
        images=(whole, *patches),
        question=QUESTION,
        answer=LETTERS[draw.rank],
        answer_type="mcq",
        boxes=(Box(0, (0.5, 0.5, 1.0, 1.0)),),
        choices=CHOICES,
        show_choices=True,
        meta={"photo": name, "regions": [_corners(crop), _corners(decoy)]},
    )


def _choose(rng: np.random.Generator, split: str) -> tuple[str, Square, Square]:
    """Draw a photo, a crop and a decoy patch off the crop, both with visible structure."""
    names = tuple(PHOTOS)
    while True:
        name = names[int(rng.integers(len(names)))]
        region = photo_region(name, split)
        side = int(rng.integers(SIDES[0], min(SIDES[1], region[2] - region[0]) + 1)) // 2 * 2
        crop = _square(rng, region, side)
        decoy = _square(rng, region, side // 2)
        missing = (crop[0] + side // 2, crop[1] + side // 2, side // 2)
        if not _overlap(crop, decoy) and _differ(_pixels(name, missing), _pixels(name, decoy)):
            return name, crop, decoy


def _square(rng: np.random.Generator, region: tuple[int, int, int, int], side: int) -> Square:
    x = int(rng.integers(region[0], region[2] - side + 1))
    return x, int(rng.integers(region[1], region[3] - side + 1)), side


def _overlap(a: Square, b: Square) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[2] and b[1] < a[1] + a[2]


def _differ(a: Pixels, b: Pixels) -> bool:
    """Refuse flat patches and pairs that look alike, which nobody could tell apart."""
    thumbs: list[npt.NDArray[np.float32]] = [
        np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX), dtype=np.float32)
        for pixels in (a, b)
    ]
    if any(float(pixels.std((0, 1)).mean()) < MIN_CONTRAST for pixels in (a, b)):
        return False
    return float(np.abs(thumbs[0] - thumbs[1]).mean()) > 2 * MIN_CONTRAST


def _pixels(name: str, square: Square) -> Pixels:
    x, y, side = square
    return photo(name)[y : y + side, x : x + side]


def _cut(name: str, square: Square, size: int) -> Pixels:
    scaled = Image.fromarray(_pixels(name, square)).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(scaled)


def _corners(square: Square) -> list[int]:
    x, y, side = square
    return [x, y, x + side, y + side]


def _phrases() -> list[str]:
    return [QUESTION, *CHOICES, "(A)", "(B)", "A", "B"]


TASK = Task("jigsaw", 2, _make, _phrases)
