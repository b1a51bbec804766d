"""Localization: which of two drawn boxes fits a large digit tightly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latentvr.data.record import Box
from latentvr.data.toy.example import Draw, Example, Task
from latentvr.data.toy.glyphs import GLYPH_HEIGHT, GLYPH_WIDTH, glyph
from latentvr.data.toy.scenes import PALETTE, Pixels, digit_ink
from latentvr.data.toy.sources import scan_table

LINE_COLOURS = np.array([[255, 150, 0], [0, 255, 255]], dtype=np.uint8)
DECOY_IOU = (0.2, 0.5)
INK = 0.25
# Room for a letter outside a box, in sixty-fourths of the side.
MARGIN = 9

Corners = tuple[int, int, int, int]


def _make(draw: Draw) -> Example:
    rng, size = draw.rng, draw.size
    unit = size // 64
    digit = int(rng.integers(10))
    scan = int(scan_table(draw.split).pick(rng, np.array([digit]))[0])
    image, tight = _draw_digit(rng, scan, size)
    boxes = [_decoy(rng, tight, size)] * 2
    boxes[draw.rank] = tight
    for index, letter in enumerate("AB"):
        _draw_box(image, boxes[index], letter, LINE_COLOURS[index], unit)
    return Example(
        images=(image,),
        question=_question(digit),
        answer="AB"[draw.rank],
        answer_type="mcq",
        boxes=(Box(0, _normalised(tight, size)),),
        choices=("box A", "box B"),
        meta={"scans": [scan], "boxes": [_normalised(box, size) for box in boxes]},
    )


def _draw_digit(rng: np.random.Generator, scan: int, size: int) -> tuple[Pixels, Corners]:
    """Draw a digit, and give the tight box around its ink, one line wider on each side."""
    unit = size // 64
    height = int(rng.integers(20, 31)) * unit
    width = height * 3 // 4
    ink = digit_ink(scan, width, height)
    margin = MARGIN * unit
    x = int(rng.integers(margin, size - margin - width + 1))
    y = int(rng.integers(margin, size - margin - height + 1))
    background = rng.integers(0, 48, 3).astype(np.float32)
    image = np.tile(background, (size, size, 1))
    colour = PALETTE[int(rng.integers(len(PALETTE)))]
    image[y : y + height, x : x + width] += ink[..., None] * (colour - background)
    rows, columns = np.flatnonzero((ink > INK).any(1)), np.flatnonzero((ink > INK).any(0))
    tight = (
        int(x + columns[0] - unit),
        int(y + rows[0] - unit),
        int(x + columns[-1] + 1 + unit),
        int(y + rows[-1] + 1 + unit),
    )
    return image.astype(np.uint8), tight


def _decoy(rng: np.random.Generator, tight: Corners, size: int) -> Corners:
    """Draw a box that overlaps the tight one, but fits it badly."""
    low, high = MARGIN * size // 64 - 1, size - MARGIN * size // 64 + 1
    sides = np.array([tight[2] - tight[0], tight[3] - tight[1]])
    while True:
        scaled = (sides * rng.uniform(0.7, 1.4, (64, 2))).astype(np.int64)
        start = np.array(tight[:2]) + (sides * rng.uniform(-0.7, 0.7, (64, 2))).astype(np.int64)
        boxes = np.concatenate([start, start + scaled], axis=1)
        overlap = _iou(np.array(tight), boxes)
        fits = (boxes.min(1) >= low) & (boxes.max(1) <= high)
        good = np.flatnonzero(fits & (overlap > DECOY_IOU[0]) & (overlap < DECOY_IOU[1]))
        if len(good):
            x0, y0, x1, y1 = (int(value) for value in boxes[good[0]])
            return x0, y0, x1, y1


def _iou(box: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Intersection over union of a box (4,) with others (n, 4)."""
    inner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(inner, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return np.asarray(shared / (areas - shared), dtype=np.float64)


def _draw_box(image: Pixels, box: Corners, letter: str, colour: npt.NDArray[np.uint8], unit: int) -> None:
    """Draw the outline; A stands above the left end of its box, B below the right end."""
    x0, y0, x1, y1 = box
    image[y0:y1, x0 : x0 + unit] = colour
    image[y0:y1, x1 - unit : x1] = colour
    image[y0 : y0 + unit, x0:x1] = colour
    image[y1 - unit : y1, x0:x1] = colour
    left, top = (
        (x0, y0 - (GLYPH_HEIGHT + 1) * unit) if letter == "A" else (x1 - GLYPH_WIDTH * unit, y1 + unit)
    )
    area = image[top : top + GLYPH_HEIGHT * unit, left : left + GLYPH_WIDTH * unit]
    area[glyph(letter, unit)] = colour


def _normalised(box: Corners, size: int) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (value / size for value in box)
    return x0, y0, x1, y1


def _question(digit: int) -> str:
    return f"which box encloses the digit {digit} tightly ?"


def _phrases() -> list[str]:
    return [*(_question(digit) for digit in range(10)), "A", "B"]


TASK = Task("localization", 2, _make, _phrases)
