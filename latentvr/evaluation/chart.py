"""Line charts as geometry: what the report's template draws as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 20, 40
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: shown in the legend.
        points: (x, y); where y is not finite the line has a gap.
        spread: half the height of a band around each point, such as a standard deviation; empty for no band.
    """

    name: str
    points: tuple[Point, ...]
    spread: tuple[float, ...] = ()


@dataclass(frozen=True)
class Chart:
    """Curves over one axis.

    Attributes:
        title: caption.
        x_label: what x counts.
        y_label: what y measures, with its unit.
        lines: the curves.
        marks: (x, name) of vertical lines, such as the starts of stages.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    marks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class DrawnLine:
    """A curve in SVG coordinates: a path, its points where they are few, and the outline of its band."""

    name: str
    path: str
    dots: tuple[Point, ...]
    gaps: int
    band: str = ""


@dataclass(frozen=True)
class Drawn:
    """A chart in SVG coordinates; ticks are (place, text)."""

    chart: Chart
    lines: tuple[DrawnLine, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(chart: Chart) -> Drawn:
    """Place a chart's lines, ticks and marks."""
    finite = [point for line in chart.lines for point in line.points if isfinite(point[1])]
    xs = [x for x, _ in finite] + [x for x, _ in chart.marks]
    x_ticks, x_low, x_high = axis(xs, tight=True)
    edges = [y for line in chart.lines for _, *ends in _edges(line) for y in ends]
    y_ticks, y_low, y_high = axis([y for _, y in finite] + edges, tight=False)

    def across(x: float) -> float:
        return round(LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1)

    def up(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM), 1)

    lines = []
    for line in chart.lines:
        placed = [(across(x), up(y)) if isfinite(y) else None for x, y in line.points]
        dots = tuple(point for point in placed if point)
        gaps = len(placed) - len(dots)
        edges_at = [(across(x), up(low), up(high)) for x, low, high in _edges(line)]
        lines.append(
            DrawnLine(line.name, _path(placed), dots if len(dots) <= 30 else (), gaps, _outline(edges_at))
        )
    return Drawn(
        chart,
        tuple(lines),
        tuple((across(x), f"{x:g}") for x in x_ticks),
        tuple((up(y), f"{y:g}") for y in y_ticks),
        tuple((across(x), name) for x, name in chart.marks),
    )


def _path(points: Sequence[Point | None]) -> str:
    pen = "M"
    parts = []
    for point in points:
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{point[0]} {point[1]}")
        pen = "L"
    return "".join(parts)


def _edges(line: Line) -> list[tuple[float, float, float]]:
    """(x, low, high) of a line's band, where all are finite."""
    if not line.spread:
        return []
    pairs = zip(line.points, line.spread, strict=True)
    return [(x, y - s, y + s) for (x, y), s in pairs if isfinite(y) and isfinite(s)]


def _outline(edges: Sequence[tuple[float, float, float]]) -> str:
    """Go along the upper edge of a band and back along the lower one."""
    upper = [(x, high) for x, _, high in edges]
    lower = [(x, low) for x, low, _ in reversed(edges)]
    return f"{_path([*upper, *lower])}Z" if edges else ""


def axis(values: Sequence[float], tight: bool) -> tuple[list[float], float, float]:
    """Choose round ticks and the range: of the values themselves (tight), or out to the next ticks.

    Args:
        values: what the axis has to hold; without any it goes from 0 to 1.
        tight: whether the range ends with the values.

    Returns:
        The ticks, the low and the high end.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    # Values that differ by rounding alone are drawn as the flat line that they are.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 5
    power = 10.0 ** floor(log10(rough))
    step = next(power * f for f in (1, 2, 5, 10) if power * f >= rough * 0.999)
    if not tight:
        low, high = floor(low / step) * step, ceil(high / step) * step
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)], low, high
