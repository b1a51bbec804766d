"""Attention maps laid over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentvr.data.picture import displayed, png, with_boxes

Map = npt.NDArray[np.float32]

# Every eighth of matplotlib's "inferno" (CC0): lightness rises evenly from black to pale yellow.
_STOPS = np.array(
    [
        (0, 0, 4),
        (33, 12, 74),
        (87, 16, 110),
        (138, 34, 106),
        (188, 55, 84),
        (228, 90, 49),
        (249, 142, 9),
        (249, 203, 53),
        (252, 255, 164),
    ],
    dtype=np.float32,
)
_LEAST_OPACITY, _MOST_OPACITY = 0.45, 0.8


@dataclass(frozen=True)
class Picture:
    """An image with a caption.

    Attributes:
        label: the caption.
        encoded: the image as PNG or JPEG.
    """

    label: str
    encoded: bytes


def colours(values: Map) -> npt.NDArray[np.uint8]:
    """Map values in [0, 1], any shape, to RGB (..., 3)."""
    at = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(values, at, _STOPS[:, c]) for c in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def overlay(
    image: Image.Image, weights: Map, boxes: Sequence[tuple[float, float, float, float]] = ()
) -> Image.Image:
    """Lay a map over an image.

    Args:
        image: any size; it is brought to a size for looking at.
        weights: (rows, columns), not negative; the largest gets the brightest colour.
        boxes: normalised boxes (x0, y0, x1, y1) to draw.

    Returns:
        An RGB image: the original in grey under the colours.
    """
    return with_boxes(laid_over(displayed(image), weights, float(weights.max())), boxes)


def laid_over(base: Image.Image, weights: Map, largest: float) -> Image.Image:
    """Lay a map over an image of the size that it is shown in.

    Args:
        base: an RGB image.
        weights: (rows, columns), not negative.
        largest: the weight that gets the brightest colour.

    Returns:
        An RGB image of the same size: the original in grey under the colours.
    """
    raised = Image.fromarray(np.asarray(weights, dtype=np.float32)).resize(
        base.size, Image.Resampling.BICUBIC
    )
    # Bicubic interpolation swings a little below zero and above the largest weight.
    heat: Map = np.clip(np.asarray(raised, np.float32) / max(largest, 1e-12), 0, 1)
    opacity = (_LEAST_OPACITY + (_MOST_OPACITY - _LEAST_OPACITY) * heat)[..., None]
    grey = np.asarray(base.convert("L"), dtype=np.float32)[..., None]
    mixed = grey * (1 - opacity) + colours(heat).astype(np.float32) * opacity
    return Image.fromarray(mixed.round().astype(np.uint8))


def latent_pictures(
    images: Sequence[Image.Image],
    maps: Sequence[Map],
    boxes: Sequence[tuple[int, tuple[float, float, float, float]]] = (),
    groups: int = 4,
) -> tuple[Picture, ...]:
    """Draw each image and where groups of consecutive latents look in it (arXiv 2512.21218, figure 3).

    Args:
        images: a sample's images.
        maps: weights (K, rows, columns) for each image.
        boxes: (index of the image, normalised box) to draw.
        groups: number of groups; fewer where there are fewer latents.

    Returns:
        For each image the image itself, then one overlay per group, scaled to its own largest weight,
        which the label states.
    """
    out: list[Picture] = []
    for i, (image, weights) in enumerate(zip(images, maps, strict=True)):
        here = [box for index, box in boxes if index == i]
        out.append(Picture(f"image {i + 1}", png(with_boxes(displayed(image), here))))
        slots = np.arange(len(weights))
        for part in np.array_split(slots, min(groups, len(slots))) if len(slots) else ():
            mean = weights[part].mean(0)
            label = f"image {i + 1}, {slot_names(part)}, max {mean.max():.2g}"
            out.append(Picture(label, png(overlay(image, mean, here))))
    return tuple(out)


def slot_names(slots: npt.NDArray[np.intp]) -> str:
    """Name consecutive latents, counted from 1."""
    first, last = slots[0] + 1, slots[-1] + 1
    return f"latents {first}\u2013{last}" if len(slots) > 1 else f"latent {first}"
