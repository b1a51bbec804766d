"""Curves lie where their values say."""

from __future__ import annotations

import math
import re

import pytest

from latentvr.evaluation.chart import HEIGHT, WIDTH, Chart, Line, draw


def chart(*points: tuple[float, float], marks: tuple[tuple[float, str], ...] = ()) -> Chart:
    return Chart("loss", "step", "nats", (Line("train", points),), marks)


def test_points_lie_inside_and_larger_is_higher() -> None:
    drawn = draw(chart((0, 1.0), (10, 3.7), (20, -2.0)))
    (x0, y0), (x1, y1), (x2, y2) = drawn.lines[0].dots
    assert drawn.left == x0 < x1 < x2 == drawn.right
    assert drawn.top <= y1 < y0 < y2 <= drawn.bottom
    assert drawn.lines[0].path.count("L") == 2


def test_ticks_name_the_places_of_their_values() -> None:
    drawn = draw(chart((0, 0.0), (100, 1.0)))
    assert [text for _, text in drawn.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    places = {text: place for place, text in drawn.y_ticks}
    assert drawn.lines[0].dots[0][1] == places["0"]
    assert drawn.lines[0].dots[1][1] == places["1"]


def test_values_that_are_not_finite_leave_a_counted_gap() -> None:
    drawn = draw(chart((0, 1.0), (1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0), (5, 1.5)))
    assert drawn.lines[0].gaps == 2
    assert drawn.lines[0].path.count("M") == 2
    assert "nan" not in drawn.lines[0].path


@pytest.mark.parametrize(
    "points",
    [
        (),
        ((5, 2.0),),
        ((0, 1.0), (1, 1.0)),
        ((0, 1e-9), (1, 3e-9)),
        ((0, 0.1), (1, math.nextafter(0.1, 1))),
        ((0, math.nan),),
    ],
)
def test_short_and_flat_curves_can_be_drawn(points: tuple[tuple[float, float], ...]) -> None:
    drawn = draw(chart(*points))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn.lines[0].dots)
    assert 2 <= len({text for _, text in drawn.y_ticks}) == len(drawn.y_ticks) <= 12


def test_marks_share_the_axis_of_the_points() -> None:
    drawn = draw(chart((0, 1.0), (10, 2.0), marks=((5, "causal"),)))
    assert drawn.marks == (((drawn.left + drawn.right) / 2, "causal"),)


def test_long_curves_have_no_dots() -> None:
    assert draw(chart(*((i, float(i)) for i in range(31)))).lines[0].dots == ()


def test_a_band_lies_around_its_line_and_inside_the_axes() -> None:
    line = Line("mean", ((0, 1.0), (10, 3.0), (20, math.nan)), (0.5, 4.0, 1.0))
    drawn = draw(Chart("reward", "step", "", (line,)))
    corners = [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn.lines[0].band)]
    (x0, y0), (x1, y1) = drawn.lines[0].dots
    assert [x for x, _ in corners] == [x0, x1, x1, x0]
    assert corners[0][1] < y0 < corners[3][1]
    assert y0 - corners[0][1] == pytest.approx(corners[3][1] - y0, abs=0.2)
    assert drawn.top <= corners[1][1] < y1 < corners[2][1] <= drawn.bottom
    assert drawn.lines[0].band.endswith("Z")


def test_a_line_without_spread_has_no_band() -> None:
    assert draw(chart((0, 1.0), (1, 2.0))).lines[0].band == ""
