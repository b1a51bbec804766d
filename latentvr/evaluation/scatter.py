"""Scatter plots as geometry: points by label, each label with a colour and a shape of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import cos, isfinite, pi, sin

#: Side of the drawing and its margin.
SIZE, MARGIN = 400, 14
#: Labels that are told apart; where there are more, the last place is that of all others.
GROUPS = 8
_RADIUS = 4.5
Point = tuple[float, float]


@dataclass(frozen=True)
class Scatter:
    """Points in the plane; distances count, axes have no scale.

    Attributes:
        title: caption.
        points: (x, y).
        labels: one for each point.
        note: how to read it; empty for none.
    """

    title: str
    points: tuple[Point, ...]
    labels: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class DrawnGroup:
    """The points of one label in SVG coordinates.

    Attributes:
        name: the label, or how many labels share this place.
        count: number of points.
        path: all their symbols.
        key: the symbol alone, around (0, 0).
    """

    name: str
    count: int
    path: str
    key: str


@dataclass(frozen=True)
class DrawnScatter:
    """A scatter plot in SVG coordinates: groups from the most common label on, and points left out."""

    scatter: Scatter
    groups: tuple[DrawnGroup, ...]
    not_finite: int
    size: int = SIZE


def draw_scatter(scatter: Scatter) -> DrawnScatter:
    """Place a plot's points, with one scale for both axes.

    Args:
        scatter: the plot.

    Returns:
        The plot in SVG coordinates.

    Raises:
        ValueError: where there are not as many labels as points.
    """
    pairs = list(zip(scatter.points, scatter.labels, strict=True))
    finite = [(point, label) for point, label in pairs if isfinite(point[0]) and isfinite(point[1])]
    placed = _placed([point for point, _ in finite])
    # Equal counts stand in the order of their names: a report does not depend on the order of records.
    ranked = sorted(Counter(label for _, label in finite).items(), key=lambda item: (-item[1], item[0]))
    kept = [label for label, _ in ranked[: GROUPS if len(ranked) <= GROUPS else GROUPS - 1]]
    place = {label: i for i, label in enumerate(kept)}
    members: list[list[Point]] = [[] for _ in range(min(len(ranked), GROUPS))]
    for point, (_, label) in zip(placed, finite, strict=True):
        members[place.get(label, GROUPS - 1)].append(point)
    names = [label or "(empty)" for label in kept]
    if len(ranked) > len(kept):
        names.append(f"{len(ranked) - len(kept)} other labels")
    groups = tuple(
        DrawnGroup(name, len(points), "".join(_symbol(i, point) for point in points), _symbol(i, (0.0, 0.0)))
        for i, (name, points) in enumerate(zip(names, members, strict=True))
    )
    return DrawnScatter(scatter, groups, len(pairs) - len(finite))


def _placed(points: list[Point]) -> list[Point]:
    """Bring points into the drawing, centred; y grows upwards."""
    if not points:
        return []
    xs, ys = [x for x, _ in points], [y for _, y in points]
    middle_x, middle_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    reach = max(max(xs) - min(xs), max(ys) - min(ys)) / 2 or 1.0
    scale = (SIZE / 2 - MARGIN) / reach
    half = SIZE / 2
    return [
        (round(half + (x - middle_x) * scale, 1), round(half - (y - middle_y) * scale, 1)) for x, y in points
    ]


def _corners(count: int, turn: float, inner: float = 1.0, size: float = 1.0) -> list[Point]:
    """Corners around (0, 0), every other one at `inner` of the radius; `turn` in turns from straight up."""
    angles = [2 * pi * (turn + i / count) for i in range(count)]
    radii = [size * (inner if i % 2 else 1.0) for i in range(count)]
    return [(r * sin(a), -r * cos(a)) for r, a in zip(radii, angles, strict=True)]


_CROSS = [
    (-1, -3),
    (1, -3),
    (1, -1),
    (3, -1),
    (3, 1),
    (1, 1),
    (1, 3),
    (-1, 3),
    (-1, 1),
    (-3, 1),
    (-3, -1),
    (-1, -1),
]
# Disc, square, triangle, diamond, triangle on its point, plus, star, cross; about equal in area.
_SHAPES: tuple[list[Point], ...] = (
    _corners(12, 0.0, size=0.9),
    _corners(4, 0.125, size=1.15),
    _corners(3, 0.0, size=1.3),
    _corners(4, 0.0, size=1.25),
    _corners(3, 0.5, size=1.3),
    [(x * 0.4, y * 0.4) for x, y in _CROSS],
    _corners(10, 0.0, inner=0.42, size=1.4),
    [((x - y) * 0.28, (x + y) * 0.28) for x, y in _CROSS],
)


def _symbol(shape: int, at: Point) -> str:
    """Outline of a symbol, closed, in coordinates relative to its first corner."""
    corners = [(x * _RADIUS, y * _RADIUS) for x, y in _SHAPES[shape]]
    (x0, y0), *rest = corners
    steps, x, y = [], x0, y0
    for x1, y1 in rest:
        step = round(x1 - x, 1), round(y1 - y, 1)
        steps.append(f"{step[0]:.1f} {step[1]:.1f}")
        # From where rounding led to, or its errors would add up along the outline.
        x, y = x + step[0], y + step[1]
    return f"M{at[0] + x0:.1f} {at[1] + y0:.1f}l{' '.join(steps)}z"
