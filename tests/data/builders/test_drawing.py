"""Marks lie where they are said to lie, and labels stay in the picture and off the points."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageChops

from latentvr.data.builders.drawing import boxes, circles


def _grey(width: int = 200, height: int = 150) -> Image.Image:
    return Image.new("RGB", (width, height), (90, 90, 90))


def _changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int]:
    box = ImageChops.difference(before, after).getbbox()
    assert box is not None
    return box


def _redness(image: Image.Image) -> np.ndarray:
    """How far each pixel of a picture on grey has gone from grey to red, by its green channel."""
    return (90 - np.asarray(image).astype(float)[..., 1]) / 90


@pytest.mark.parametrize("point", [(60.0, 70.0), (60.25, 70.75), (100.5, 40.49), (30.9, 99.1)])
def test_a_circle_is_centred_on_its_exact_point(point: tuple[float, float]) -> None:
    drawn = circles(_grey(), [point], [""], radius=12, width=3)
    strength = _redness(drawn)
    rows, columns = np.mgrid[0:150, 0:200]
    centre = (strength * columns).sum() / strength.sum(), (strength * rows).sum() / strength.sum()
    assert centre == pytest.approx(point, abs=0.05)
    distance = np.hypot(columns - point[0], rows - point[1])
    assert (strength * distance).sum() / strength.sum() == pytest.approx(12, abs=0.1)
    assert strength[distance < 9.5].max() == 0


def test_the_input_stays_as_it_was() -> None:
    picture = _grey()
    circles(picture, [(50, 50)], ["A"], 10, 3)
    boxes(picture, [(5, 5, 60, 60)], ["A"], 3, ["red"])
    assert not ImageChops.difference(picture, _grey()).getbbox()


@pytest.mark.parametrize("label", ["A", "REF"])
@pytest.mark.parametrize("point", [(0, 0), (199, 0), (0, 149), (199, 149), (100, 3), (196, 75), (100, 75)])
def test_a_label_never_leaves_the_picture(label: str, point: tuple[float, float]) -> None:
    """On a larger canvas the same label has the same number of pixels: none was cut off."""
    inner = circles(_grey(), [point], [label], 10, 3)
    alone = circles(_grey(), [point], [""], 10, 3)
    label_pixels = np.any(np.asarray(inner) != np.asarray(alone), axis=2).sum()
    whole = circles(_grey(800, 800), [(400, 400)], [label], 10, 3)
    ring = circles(_grey(800, 800), [(400, 400)], [""], 10, 3)
    assert label_pixels == np.any(np.asarray(whole) != np.asarray(ring), axis=2).sum() > 50


def test_labels_avoid_circles_and_each_other() -> None:
    points = [(60, 60), (90, 60), (60, 90), (95, 95)]
    with_labels = np.asarray(circles(_grey(), points, list("ABCD"), 10, 3)).astype(int)
    without = np.asarray(circles(_grey(), points, [""] * 4, 10, 3)).astype(int)
    rows, columns = np.mgrid[0:150, 0:200]
    changed = np.any(with_labels != without, axis=2)
    for x, y in points:
        assert not changed[np.hypot(columns - x, rows - y) <= 11.5].any()
    one = [
        np.asarray(circles(_grey(), [p], [c], 10, 3)).astype(int) for p, c in zip(points, "ABCD", strict=True)
    ]
    ring = [np.asarray(circles(_grey(), [p], [""], 10, 3)).astype(int) for p in points]
    single = sum(np.any(a != b, axis=2).sum() for a, b in zip(one, ring, strict=True))
    assert changed.sum() == single


@pytest.mark.parametrize("colour", ["red", "white", "black", "grey"])
def test_a_label_is_legible_on_any_background(colour: str) -> None:
    plain = Image.new("RGB", (120, 90), colour)
    drawn = np.asarray(circles(plain, [(60, 45)], ["A"], 10, 3)).astype(int)
    ring = np.asarray(circles(plain, [(60, 45)], [""], 10, 3)).astype(int)
    assert (np.abs(drawn - ring).max(axis=2) > 120).sum() > 20


def test_a_label_fits_into_a_tiny_picture() -> None:
    drawn = circles(_grey(24, 20), [(12, 10)], ["REF"], 3, 1)
    assert drawn.size == (24, 20)
    assert not ImageChops.difference(drawn, circles(_grey(24, 20), [(12, 10)], ["REF"], 3, 1)).getbbox()


def test_the_outer_edge_of_a_box_is_the_boxs_edge() -> None:
    assert _changed(_grey(), boxes(_grey(), [(20, 30, 80, 100)], [""], 3, ["red"])) == (20, 30, 80, 100)


@pytest.mark.parametrize("box", [(-5, -5, 300, 300), (0, 0, 200, 150), (150.4, 100.2, 500, 149.6)])
def test_a_box_beyond_the_border_is_drawn_at_it(box: tuple[float, float, float, float]) -> None:
    drawn = np.asarray(boxes(_grey(), [box], [""], 2, ["red"]))
    assert (drawn[75 if box[0] < 0 else 120, 199] == (255, 0, 0)).all()


def test_labels_of_two_boxes_do_not_lie_on_each_other() -> None:
    both = [(20.0, 30.0, 150.0, 120.0), (20.0, 30.0, 120.0, 100.0)]
    plain = np.asarray(boxes(_grey(), both, ["", ""], 2, ["red", "blue"]))
    drawn = np.asarray(boxes(_grey(), both, ["A", "B"], 2, ["red", "blue"]))
    columns = np.flatnonzero(np.any(drawn != plain, axis=(0, 2)))
    assert np.diff(columns).max() > 5


@pytest.mark.parametrize(
    ("size", "points"),
    [
        ((53, 16), [(43, 5), (8, 3)]),
        ((102, 19), [(57, 6), (43, 7), (39, 11)]),
        ((59, 32), [(38, 26), (16, 21), (6, 10)]),
    ],
)
def test_centres_stay_free_where_labels_must_cover_something(
    size: tuple[int, int], points: list[tuple[int, int]]
) -> None:
    labelled = np.asarray(circles(_grey(*size), points, ["REF"] * len(points), 5, 2))
    plain = np.asarray(circles(_grey(*size), points, [""] * len(points), 5, 2))
    assert all((labelled[y, x] == plain[y, x]).all() for x, y in points)
