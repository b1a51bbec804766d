"""Attention maps of one sample side by side: a row for each range of layers, a column for each latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from latentvr.data.picture import jpeg, thumbnail, with_boxes
from latentvr.evaluation.overlay import Map, Picture, laid_over, slot_names

#: Longer side of a cell and of a photograph, in pixels.
CELL, PHOTOGRAPH = 192, 320
_RANGES = {3: ("early layers", "middle layers", "late layers")}
NOTE = (
    "Weights are the shares of a latent's attention that one visual token gets, averaged over heads, over "
    "the layers of the row and over the latents of the column. The brightest colour is {largest:.2g} in "
    "every cell."
)


@dataclass(frozen=True)
class OverlayGrid:
    """Overlays of one image.

    Attributes:
        title: which image of which record.
        picture: the image itself.
        columns: names of latents, or of groups of them.
        rows: (range of layers with its largest weight, one overlay per column).
        note: the scale.
    """

    title: str
    picture: Picture
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]
    note: str = ""


def photograph(
    label: str,
    image: Image.Image,
    boxes: Sequence[tuple[float, float, float, float]] = (),
    longest: int = PHOTOGRAPH,
) -> Picture:
    """Take a small JPEG of an image, with normalised boxes drawn."""
    return Picture(label, jpeg(with_boxes(thumbnail(image, longest), boxes)))


def layer_grids(
    title: str,
    images: Sequence[Image.Image],
    maps: Sequence[Sequence[Map]],
    boxes: Sequence[tuple[int, tuple[float, float, float, float]]] = (),
    groups: int = 4,
) -> tuple[OverlayGrid, ...]:
    """Draw where latents look, by depth.

    Args:
        title: names the sample.
        images: its images.
        maps: weights (K, rows, columns) for each range of layers, for each image.
        boxes: (index of the image, normalised box) to draw.
        groups: number of groups of consecutive latents; fewer where there are fewer latents.

    Returns:
        One grid for each image, all with one scale; none where there are no latents.
    """
    slots = len(maps[0][0]) if maps and maps[0] else 0
    if not slots:
        return ()
    parts = np.array_split(np.arange(slots), min(groups, slots))
    means = [
        [[weights[part].mean(0) for part in parts] for weights, _ in zip(row, images, strict=True)]
        for row in maps
    ]
    largest = max(_largest(cells) for row in means for cells in row)
    names = _RANGES.get(len(maps)) or tuple(f"layers, part {i + 1} of {len(maps)}" for i in range(len(maps)))
    columns = tuple(slot_names(part) for part in parts)
    out = []
    for i, image in enumerate(images):
        here = [box for index, box in boxes if index == i]
        cells = [row[i] for row in means]
        label = f"{title}, image {i + 1}" if len(images) > 1 else title
        picture = photograph("the image" + (" with the record's regions" if here else ""), image, here, CELL)
        rows = tuple(
            (f"{name}, max {_largest(row):.2g}", _drawn(name, columns, row, image, here, largest))
            for name, row in zip(names, cells, strict=True)
        )
        out.append(OverlayGrid(label, picture, columns, rows, NOTE.format(largest=largest)))
    return tuple(out)


def _largest(cells: Sequence[Map]) -> float:
    return max(float(cell.max()) for cell in cells)


def _drawn(
    name: str,
    columns: Sequence[str],
    cells: Sequence[Map],
    image: Image.Image,
    boxes: Sequence[tuple[float, float, float, float]],
    largest: float,
) -> tuple[Picture, ...]:
    """Draw one row."""
    base = thumbnail(image, CELL)
    return tuple(
        Picture(
            f"{name}, {column}, max {cell.max():.2g}",
            jpeg(with_boxes(laid_over(base, cell, largest), boxes)),
        )
        for column, cell in zip(columns, cells, strict=True)
    )
