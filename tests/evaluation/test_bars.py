"""Bars and whiskers lie where their values say."""

from __future__ import annotations

import math

import pytest

from latentvr.evaluation.bars import LEFT, RIGHT, WIDTH, Bar, BarChart, draw_bars, shortened

END = WIDTH - RIGHT


def test_bars_begin_at_zero_and_end_at_their_value() -> None:
    drawn = draw_bars(BarChart("t", "%", (Bar("a", 50.0), Bar("b", 100.0), Bar("c", 0.0)), limits=(0, 100)))
    assert [(bar.x, bar.width) for bar in drawn.bars] == [
        (LEFT, (END - LEFT) / 2),
        (LEFT, END - LEFT),
        (LEFT, 0),
    ]
    assert [bar.text for bar in drawn.bars] == ["50.0", "100.0", "0.0"]
    assert [text for _, text in drawn.x_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert drawn.bars[0].y < drawn.bars[1].y < drawn.bars[2].y < drawn.bottom < drawn.height


def test_negative_values_go_to_the_left_of_zero() -> None:
    drawn = draw_bars(BarChart("t", "points", (Bar("a", -10.0), Bar("b", 10.0))))
    left, right = drawn.bars
    assert left.x == LEFT
    assert left.x + left.width == right.x
    assert left.text == "\u221210.0"


def test_whiskers_have_the_ends_of_their_interval() -> None:
    drawn = draw_bars(BarChart("t", "%", (Bar("a", 50.0, 25.0, 75.0),), limits=(0, 100)))
    assert drawn.bars[0].whisker == (LEFT + (END - LEFT) / 4, LEFT + (END - LEFT) * 3 / 4)
    assert drawn.bars[0].caps == drawn.bars[0].whisker


def test_a_whisker_that_leaves_the_axis_loses_its_cap() -> None:
    drawn = draw_bars(BarChart("t", "%", (Bar("a", 90.0, 75.0, 105.0),), limits=(0, 100)))
    assert drawn.bars[0].whisker == (LEFT + (END - LEFT) * 3 / 4, END)
    assert drawn.bars[0].caps == (LEFT + (END - LEFT) * 3 / 4,)


@pytest.mark.parametrize(("reference", "anchor"), [(0.0, "start"), (50.0, "middle"), (100.0, "end")])
def test_the_reference_is_a_named_line(reference: float, anchor: str) -> None:
    drawn = draw_bars(BarChart("t", "%", (Bar("a", 50.0),), reference, limits=(0, 100)))
    place = LEFT + (END - LEFT) * reference / 100
    assert drawn.reference == (place, f"baseline {reference:.1f}", anchor)
    assert draw_bars(BarChart("t", "%", (Bar("a", 50.0),))).reference is None


def test_an_axis_of_its_own_holds_intervals_and_reference() -> None:
    drawn = draw_bars(BarChart("t", "%", (Bar("a", 3.0, -4.0, 9.0),), 17.0))
    assert drawn.reference is not None
    assert drawn.bars[0].whisker is not None
    assert LEFT <= drawn.bars[0].whisker[0] < drawn.bars[0].whisker[1] < drawn.reference[0] <= END


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_said_and_has_no_bar(value: float) -> None:
    drawn = draw_bars(BarChart("t", "%", (Bar("a", value, math.nan, 1.0), Bar("b", 1.0)), 0.5))
    assert (drawn.bars[0].text, drawn.bars[0].width, drawn.bars[0].whisker) == ("not finite", 0, None)
    assert drawn.bars[1].width > 0


def test_a_chart_without_bars_can_be_drawn() -> None:
    assert draw_bars(BarChart("t", "%", ())).bars == ()


def test_a_note_has_a_line_of_its_own() -> None:
    one, two, three = draw_bars(
        BarChart("t", "%", (Bar("a", 1.0, note="n"), Bar("b", 1.0), Bar("c", 1.0)))
    ).bars
    assert two.y - one.y > three.y - two.y


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("bottleneck", "bottleneck"),
        ("bottleneck_drop", "bottlenec\u2026"),
        ("\u6f22" * 9, "\u6f22" * 4 + "\u2026"),
    ],
)
def test_long_names_are_cut_by_what_they_take_up(text: str, short: str) -> None:
    assert shortened(text, 10) == short
