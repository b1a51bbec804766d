"""Draw marks on pictures: circles round points and boxes, each with its label.

A point (x, y) means the centre of the pixel in column x and row y. Circles are drawn with soft edges round
the exact point, so that their centre is right to a fraction of a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

Rect = tuple[float, float, float, float]
Point = tuple[float, float]

_GAP = 2
_SMALLEST_FONT = 6


def circles(
    image: Image.Image,
    points: Sequence[Point],
    labels: Sequence[str],
    radius: int,
    width: int,
    colour: str = "red",
) -> Image.Image:
    """Draw a circle round each point, with its label beside it.

    A label lies wholly in the picture, and covers the centre or the line of a circle or another label only
    where there is no other place for it.

    Args:
        image: RGB.
        points: (x, y) in pixels, each in the picture.
        labels: one for each point.
        radius: of the middle of the line, in pixels.
        width: of the line, in pixels.
        colour: any name that Pillow knows.

    Returns:
        A copy with the marks.
    """
    made = image.copy()
    for point in points:
        _draw_ring(made, point, radius, width, colour)
    outer = radius + width / 2
    rings = [(x, y, outer) for x, y in points]
    taken: list[Rect] = []
    for (x, y), label in zip(points, labels, strict=True):
        size = max(12, 2 * radius)
        font, stroke, extent = _fitting(label, size, image.size)
        spots = _round_circle(x, y, outer + _GAP, *extent)
        place = _best(spots, extent, image.size, rings, taken)
        taken.append((*place, place[0] + extent[0], place[1] + extent[1]))
        _write(made, label, place, font, stroke, colour)
    return made


def boxes(
    image: Image.Image,
    boxes: Sequence[Rect],
    labels: Sequence[str],
    width: int,
    colours: Sequence[str],
) -> Image.Image:
    """Draw the outline of each box, with its label at a corner.

    The line lies within the box, so that its outer edge is the box's edge; parts out of the picture are
    drawn at its border.

    Args:
        image: RGB.
        boxes: (x0, y0, x1, y1) in pixels; x1 and y1 are the first column and row outside.
        labels: one for each box.
        width: of the line, in pixels.
        colours: one for each box, names that Pillow knows.

    Returns:
        A copy with the marks.
    """
    made = image.copy()
    draw = ImageDraw.Draw(made)
    inside = [_clamped(box, image.size) for box in boxes]
    for (x0, y0, x1, y1), colour in zip(inside, colours, strict=True):
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=width)
    taken: list[Rect] = []
    for box, label, colour in zip(inside, labels, colours, strict=True):
        size = max(14, round(min(image.size) / 18))
        font, stroke, extent = _fitting(label, size, image.size)
        place = _best(_at_corners(box, width + _GAP, *extent), extent, image.size, (), taken)
        taken.append((*place, place[0] + extent[0], place[1] + extent[1]))
        _write(made, label, place, font, stroke, colour)
    return made


def _draw_ring(image: Image.Image, point: Point, radius: float, width: float, colour: str) -> None:
    """Blend a ring into the picture; its strength in a pixel is how much of the line the pixel holds."""
    reach = int(radius + width / 2 + 2)
    x0, y0 = max(0, int(point[0]) - reach), max(0, int(point[1]) - reach)
    x1 = min(image.width, int(point[0]) + reach + 2)
    y1 = min(image.height, int(point[1]) + reach + 2)
    if x1 <= x0 or y1 <= y0:
        return
    rows, columns = np.mgrid[y0:y1, x0:x1]
    distance = np.hypot(columns - point[0], rows - point[1])
    strength = np.clip(width / 2 + 0.5 - np.abs(distance - radius), 0, 1)[..., None]
    ink = np.array(ImageColor.getrgb(colour)[:3], dtype=np.float64)
    part = np.asarray(image.crop((x0, y0, x1, y1))).astype(np.float64)
    blended = np.rint(part + strength * (ink - part)).astype(np.uint8)
    image.paste(Image.fromarray(blended), (x0, y0))


def _fitting(
    label: str, size: int, picture: tuple[int, int]
) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, int, tuple[int, int]]:
    """Give the font, the width of the stroke and the extent of a label that fits into the picture."""
    while True:
        font, stroke = ImageFont.load_default(size), max(1, size // 10)
        x0, y0, x1, y1 = font.getbbox(label, anchor="lt", stroke_width=stroke)
        extent = int(np.ceil(x1 - x0)), int(np.ceil(y1 - y0))
        if size <= _SMALLEST_FONT or (extent[0] <= picture[0] and extent[1] <= picture[1]):
            return font, stroke, extent
        size -= 1


def _round_circle(x: float, y: float, reach: float, width: int, height: int) -> list[Point]:
    """Top left corners of a label at the eight sides of a circle, then of the same ones further out."""
    spots = []
    for far in (reach, reach + height, reach + 2 * height):
        near = far * 0.75  # a little more than the sine of 45 degrees
        right, left, below, above = x + far, x - far - width, y + far, y - far - height
        middle_x, middle_y = x - width / 2, y - height / 2
        spots += [(right, middle_y), (left, middle_y), (middle_x, above), (middle_x, below)]
        spots += [(x + near, y - near - height), (x - near - width, y - near - height)]
        spots += [(x + near, y + near), (x - near - width, y + near)]
    return spots


def _at_corners(box: Rect, gap: float, width: int, height: int) -> list[Point]:
    """Top left corners of a label above or below a box, then within it."""
    x0, y0, x1, y1 = box
    above, below, right = y0 - height - _GAP, y1 + _GAP, x1 - width
    within = [(x0 + gap, y0 + gap), (right - gap, y0 + gap)]
    within += [(x0 + gap, y1 - gap - height), (right - gap, y1 - gap - height)]
    return [(x0, above), (right, above), (x0, below), (right, below), *within]


def _best(
    spots: Iterable[Point],
    extent: tuple[int, int],
    picture: tuple[int, int],
    rings: Sequence[tuple[float, float, float]],
    taken: Sequence[Rect],
) -> tuple[int, int]:
    """Choose the place that covers the fewest centres, then the least of other marks, then is not moved."""
    best, least = (0, 0), (np.inf, np.inf, np.inf)
    for x, y in spots:
        left = int(min(max(round(x), 0), max(0, picture[0] - extent[0])))
        top = int(min(max(round(y), 0), max(0, picture[1] - extent[1])))
        rect = (left, top, left + extent[0], top + extent[1])
        depths = [reach - _distance(rect, x0, y0) for x0, y0, reach in rings]
        hidden = sum(depth >= reach for depth, (*_, reach) in zip(depths, rings, strict=True))
        covered = sum(max(0.0, depth) for depth in depths) + sum(_common(rect, other) for other in taken)
        cost = (hidden, covered, abs(left - x) + abs(top - y) > 1)
        if cost < least:
            best, least = (left, top), cost
    return best


def _distance(rect: Rect, x: float, y: float) -> float:
    """Distance of a point from a rectangle, 0 within it."""
    return float(np.hypot(max(rect[0] - x, x - rect[2], 0), max(rect[1] - y, y - rect[3], 0)))


def _common(one: Rect, other: Rect) -> float:
    """Area that two rectangles share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


def _write(
    image: Image.Image,
    label: str,
    place: tuple[int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    stroke: int,
    colour: str,
) -> None:
    """Write a label whose stroke makes it legible on its own colour too."""
    x0, y0, _, _ = font.getbbox(label, anchor="lt", stroke_width=stroke)
    at = place[0] - x0, place[1] - y0
    draw = ImageDraw.Draw(image)
    draw.text(at, label, fill=colour, font=font, anchor="lt", stroke_width=stroke, stroke_fill="white")


def _clamped(box: Rect, picture: tuple[int, int]) -> tuple[int, int, int, int]:
    """Round to whole pixels of the picture, at least one in each direction."""
    x0, x1 = sorted((round(min(max(box[0], 0), picture[0])), round(min(max(box[2], 0), picture[0]))))
    y0, y1 = sorted((round(min(max(box[1], 0), picture[1])), round(min(max(box[3], 0), picture[1]))))
    x0, y0 = min(x0, picture[0] - 1), min(y0, picture[1] - 1)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
