"""From a box to the visual tokens that it covers (arXiv 2509.24251, section 3.1), and to pictures of it.

Boxes are normalised corners (x0, y0, x1, y1). Patches are merged M x M into one visual token; a token belongs
to a box as soon as one of its patches touches it (outward rounding).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image
from torch import Tensor

from latentvr.data.record import Box
from latentvr.errors import RecordError

Corners = tuple[float, float, float, float]


def region_rectangle(box: Corners, grid: Tensor, merge: int = 2) -> tuple[int, int, int, int]:
    """The rows and columns of visual tokens that a box covers.

    Args:
        box: normalised corners.
        grid: frames, rows and columns of the processed image, in patches (3,).
        merge: patches per side of a visual token.

    Returns:
        (y0, x0, y1, x1) in visual tokens, the last two exclusive.
    """
    _, rows, columns = (int(n) for n in grid)
    x0, x1 = _patches(box[0], box[2], columns)
    y0, y1 = _patches(box[1], box[3], rows)
    return y0 // merge, x0 // merge, -(-y1 // merge), -(-x1 // merge)


def _patches(low: float, high: float, count: int) -> tuple[int, int]:
    """First patch of an interval, and the one after its last."""
    first = min(max(math.floor(low * count), 0), count - 1)
    return first, min(max(math.ceil(high * count), 0), count)


def region_tokens(box: Corners, grid: Tensor, merge: int = 2) -> list[int]:
    """Numbers of the visual tokens of one image that a box covers, row by row.

    Args:
        box: normalised corners.
        grid: frames, rows and columns of the processed image, in patches (3,).
        merge: patches per side of a visual token.

    Returns:
        Indices into the image's visual tokens.

    Raises:
        RecordError: the box is empty.
    """
    y0, x0, y1, x1 = region_rectangle(box, grid, merge)
    width = int(grid[2]) // merge
    tokens = [y * width + x for y in range(y0, y1) for x in range(x0, x1)]
    if not tokens:
        raise RecordError(
            f"expected a box with an area, got {list(box)}; fix: write x0 < x1 and y0 < y1 within [0, 1]"
        )
    return tokens


def pooled(tokens: list[int], slots: int | None) -> list[tuple[int, int]]:
    """Assign tokens to slots: one each, or `slots` runs of neighbours of (nearly) equal length.

    Run k of n tokens goes from floor(k n / slots) to ceil((k + 1) n / slots), as in adaptive average pooling:
    with fewer tokens than slots a token serves several of them.

    Args:
        tokens: numbers of visual tokens.
        slots: number of slots; None gives one to each token.

    Returns:
        Pairs of slot and token; a slot stands for the mean of its tokens.
    """
    if slots is None:
        return list(enumerate(tokens))
    n = len(tokens)
    runs = [tokens[k * n // slots : -(-(k + 1) * n // slots)] for k in range(slots)]
    return [(slot, token) for slot, run in enumerate(runs) for token in run]


def pixel_box(box: Corners, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels that a box touches in a picture of `size` (width, height): left, top, right, bottom."""
    width, height = size
    left, right = _patches(box[0], box[2], width)
    top, bottom = _patches(box[1], box[3], height)
    return left, top, right, bottom


def painted_over(picture: Image.Image, boxes: tuple[Box, ...]) -> Image.Image:
    """A copy of an RGB picture whose boxes are filled with the picture's mean colour."""
    if not boxes:
        return picture
    pixels = np.asarray(picture).copy()
    colour = pixels.reshape(-1, pixels.shape[-1]).mean(0).round().astype(pixels.dtype)
    for box in boxes:
        left, top, right, bottom = pixel_box(box.box, picture.size)
        pixels[top:bottom, left:right] = colour
    return Image.fromarray(pixels)
