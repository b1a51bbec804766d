"""Bar charts as geometry: what the report's template draws as SVG, one row for each bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from unicodedata import east_asian_width

from latentvr.evaluation.chart import axis

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 178, 70, 30, 44
_ROW, _NOTE, _THICKNESS = 28, 20, 14
_NAME_CELLS, _NOTE_CELLS = 16, 44


@dataclass(frozen=True)
class Bar:
    """One value.

    Attributes:
        name: what it is of.
        value: in the unit of the chart.
        low: lower end of its interval; None for none.
        high: upper end of its interval; None for none.
        note: a few words below the bar.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class BarChart:
    """Values side by side, each with its interval.

    Attributes:
        title: caption.
        x_label: what the values measure, with the unit.
        bars: from top to bottom.
        reference: a value that all are compared with, drawn as a line; None for none.
        reference_name: its name.
        limits: ends of the axis; whiskers beyond them are cut and lose their cap. None: the axis holds all.
        absent: (name, reason) of what has no bar.
        note: how to read it; empty for none.
    """

    title: str
    x_label: str
    bars: tuple[Bar, ...]
    reference: float | None = None
    reference_name: str = "baseline"
    limits: tuple[float, float] | None = None
    absent: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class DrawnBar:
    """A bar in SVG coordinates.

    Attributes:
        bar: the bar.
        name: its name, cut to its column.
        note: its note, cut to its line.
        text: its value.
        y: the middle of the bar.
        x: left end.
        width: 0 where the value is not finite.
        whisker: ends of the interval; None for none.
        caps: those of the ends that lie inside the axis.
    """

    bar: Bar
    name: str
    note: str
    text: str
    y: float
    x: float
    width: float
    whisker: tuple[float, float] | None
    caps: tuple[float, ...]


@dataclass(frozen=True)
class DrawnBars:
    """A bar chart in SVG coordinates; ticks are (place, text), the reference is (place, text, anchor)."""

    chart: BarChart
    bars: tuple[DrawnBar, ...]
    x_ticks: tuple[tuple[float, str], ...]
    reference: tuple[float, str, str] | None
    height: int
    width: int = WIDTH
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    thickness: int = _THICKNESS

    @property
    def bottom(self) -> int:
        """Where the axis is."""
        return self.height - BOTTOM


def draw_bars(chart: BarChart) -> DrawnBars:
    """Place a chart's bars, whiskers, ticks and reference; bars begin at zero."""
    ticks, low, high = axis(list(chart.limits), tight=True) if chart.limits else axis(_shown(chart), False)

    def across(value: float) -> float:
        inside = min(max(value, low), high)
        return round(LEFT + (inside - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    drawn, y = [], TOP
    for bar in chart.bars:
        zero, end = across(0.0), across(bar.value if isfinite(bar.value) else 0.0)
        ends = _ends(bar)
        whisker = (across(ends[0]), across(ends[1])) if ends else None
        caps = tuple(across(end) for end in ends if low <= end <= high)
        text = _number(bar.value) if isfinite(bar.value) else "not finite"
        drawn.append(
            DrawnBar(
                bar,
                shortened(bar.name, _NAME_CELLS),
                shortened(bar.note, _NOTE_CELLS),
                text,
                y + _ROW / 2,
                min(zero, end),
                round(abs(end - zero), 1),
                whisker,
                caps,
            )
        )
        y += _ROW + (_NOTE if bar.note else 0)
    places = tuple((across(tick), _number(tick, "g")) for tick in ticks)
    return DrawnBars(chart, tuple(drawn), places, _reference(chart, across), y + BOTTOM)


def shortened(text: str, cells: int) -> str:
    """Cut a text to a number of cells, of which wide characters take two; an ellipsis stands for the rest."""
    used = 0
    for i, character in enumerate(text):
        used += 2 if east_asian_width(character) in "WF" else 1
        if used > cells:
            return text[: max(i - 1, 0)] + "\u2026"
    return text


def _shown(chart: BarChart) -> list[float]:
    """List what an axis has to hold: zero, values, ends of intervals and the reference."""
    reference = [] if chart.reference is None else [chart.reference]
    values = [0.0, *reference, *(bar.value for bar in chart.bars), *(e for b in chart.bars for e in _ends(b))]
    return [value for value in values if isfinite(value)]


def _ends(bar: Bar) -> tuple[float, ...]:
    if bar.low is None or bar.high is None or not (isfinite(bar.low) and isfinite(bar.high)):
        return ()
    return (bar.low, bar.high)


def _reference(chart: BarChart, across: Callable[[float], float]) -> tuple[float, str, str] | None:
    """Place the line's name so that it stays over the plot."""
    if chart.reference is None:
        return None
    place = across(chart.reference)
    share = (place - LEFT) / (WIDTH - LEFT - RIGHT)
    anchor = "start" if share < 0.25 else "end" if share > 0.75 else "middle"
    return place, f"{chart.reference_name} {_number(chart.reference)}", anchor


def _number(value: float, form: str = ".1f") -> str:
    """Write a number with a true minus sign."""
    return f"{value:{form}}".replace("-", "\u2212")
