"""Points lie where they belong, and labels are told apart."""

from __future__ import annotations

import math
import re

import pytest

from latentvr.evaluation.scatter import GROUPS, MARGIN, SIZE, Scatter, draw_scatter


def starts(path: str) -> list[tuple[float, float]]:
    """First corners of the symbols of a path."""
    return [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", path)]


def test_one_scale_serves_both_axes_and_y_grows_upwards() -> None:
    points = ((0.0, 0.0), (100.0, 0.0), (100.0, 50.0))
    (group,) = draw_scatter(Scatter("t", points, ("a",) * 3)).groups
    (x0, y0), (x1, y1), (x2, y2) = starts(group.path)
    assert x1 - x0 == pytest.approx(SIZE - 2 * MARGIN, abs=0.2)
    assert (y1, x2) == (y0, x1)
    assert y1 - y2 == pytest.approx((x1 - x0) / 2, abs=0.2)


def test_each_label_has_a_shape_of_its_own() -> None:
    labels = tuple("ABCDEFGH")
    drawn = draw_scatter(Scatter("t", tuple((float(i), 0.0) for i in range(8)), labels))
    assert [group.name for group in drawn.groups] == list(labels)
    assert len({group.key for group in drawn.groups}) == GROUPS == 8


def test_rare_labels_share_the_last_place() -> None:
    labels = tuple("ABCDEFGHI") + tuple("BCDEFGH")
    drawn = draw_scatter(Scatter("t", tuple((float(i), 0.0) for i in range(16)), labels))
    assert [group.name for group in drawn.groups] == [*"BCDEFGH", "2 other labels"]
    assert [group.count for group in drawn.groups] == [2] * 8
    assert sum(len(starts(group.path)) for group in drawn.groups) == 16


def test_the_order_of_points_does_not_change_the_groups() -> None:
    points, labels = ((0.0, 0.0), (1.0, 2.0), (3.0, 1.0)), ("b", "a", "b")
    one = draw_scatter(Scatter("t", points, labels)).groups
    two = draw_scatter(Scatter("t", points[::-1], labels[::-1])).groups
    assert [(g.name, g.count) for g in one] == [(g.name, g.count) for g in two] == [("b", 2), ("a", 1)]
    assert [sorted(starts(g.path)) for g in one] == [sorted(starts(g.path)) for g in two]


def test_points_that_are_not_finite_are_counted() -> None:
    drawn = draw_scatter(Scatter("t", ((0.0, 1.0), (math.nan, 1.0), (1.0, math.inf)), ("a", "a", "b")))
    assert drawn.not_finite == 2
    assert [(group.name, group.count) for group in drawn.groups] == [("a", 1)]


@pytest.mark.parametrize("points", [(), ((5.0, 5.0),), ((1.0, 1.0), (1.0, 1.0))])
def test_few_and_equal_points_can_be_drawn(points: tuple[tuple[float, float], ...]) -> None:
    drawn = draw_scatter(Scatter("t", points, ("",) * len(points)))
    places = [place for group in drawn.groups for place in starts(group.path)]
    assert len(places) == len(points)
    assert all(abs(v - SIZE / 2) < 10 for place in places for v in place)
    assert all(group.name == "(empty)" for group in drawn.groups)


def test_every_point_needs_its_label() -> None:
    with pytest.raises(ValueError, match="shorter"):
        draw_scatter(Scatter("t", ((0.0, 0.0), (1.0, 1.0)), ("a",)))
