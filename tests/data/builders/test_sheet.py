"""The sheet shows every picture of every sample, whole, in order, with the end of its text."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from latentvr.data.builders.sheet import MOST, sheet

RED, GREEN, BLUE = (255, 0, 0), (0, 200, 0), (0, 0, 255)
TEXT = "Which one?\n(A) the second image\n(B) the third image\n= A"


def _flat(colour: tuple[int, int, int], size: tuple[int, int] = (90, 60)) -> Image.Image:
    return Image.new("RGB", size, colour)


def _extent(page: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((np.asarray(page) == colour).all(-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_pictures_stand_side_by_side_in_order_and_keep_their_shape() -> None:
    page = sheet([("one", [_flat(RED, (400, 200)), _flat(GREEN, (200, 100)), _flat(BLUE, (200, 100))], TEXT)])
    places = [_extent(page, colour) for colour in (RED, GREEN, BLUE)]
    assert places[0][2] <= places[1][0]
    assert places[1][2] <= places[2][0]
    widths = [x1 - x0 for x0, _, x1, _ in places]
    heights = [y1 - y0 for _, y0, _, y1 in places]
    for width, height in zip(widths, heights, strict=True):
        assert width / height == pytest.approx(2, abs=0.05)
    # The canvas is twice as large as its patches, on the sheet too.
    assert widths[0] / widths[1] == pytest.approx(2, abs=0.05)
    assert widths[1] == widths[2]


@pytest.mark.parametrize("size", [(2000, 20), (20, 2000), (2, 2), (3000, 2000)])
def test_a_picture_of_any_shape_is_shown_whole_and_large(size: tuple[int, int]) -> None:
    page = sheet([("one", [_flat(RED, size)], TEXT)])
    x0, y0, x1, y1 = _extent(page, RED)
    assert x0 > 0
    assert y0 > 0
    assert x1 < page.width
    assert y1 < page.height
    assert x1 - x0 > 500 or y1 - y0 > 230


def test_twelve_samples_fill_a_grid_row_by_row() -> None:
    colours = [(20 * k, 250 - 20 * k, 7) for k in range(MOST)]
    page = sheet([(str(k), [_flat(colour)], TEXT) for k, colour in enumerate(colours)])
    places = [_extent(page, colour)[:2] for colour in colours]
    assert len({y for _, y in places}) == 4
    assert places == sorted(places, key=lambda place: (place[1], place[0]))
    assert page.width < 2000
    assert page.height < 2200


def test_the_last_lines_of_a_long_text_are_those_that_show() -> None:
    def ink(text: str) -> np.ndarray:
        return np.asarray(sheet([("one", [], text)]))

    long = " ".join(f"word{k}" for k in range(400))
    np.testing.assert_array_equal(
        ink(f"first {long}\nlast\n= A")[-60:], ink(f"other {long}\nlast\n= A")[-60:]
    )
    assert (ink(f"{long}\nlast\n= A") != ink(f"{long}\nlast\n= B")).any()
    assert (ink("title\n= A") != ink("title\n= B")).any()


def test_no_text_leaves_its_card() -> None:
    blank, text = sheet([("", [], "")]), "W" * 600
    page = sheet([(text, [], f"{text}\n{text} {text}")])
    assert page.size == blank.size
    changed = np.argwhere((np.asarray(page) != np.asarray(blank)).any(-1))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert top > 12
    assert left > 20
    assert bottom < page.height - 14
    assert right < page.width - 20


def test_the_same_samples_give_the_same_sheet_and_theirs_stay_unchanged() -> None:
    pictures = [_flat(RED), Image.new("L", (30, 30), 90)]
    before = [picture.tobytes() for picture in pictures]
    assert sheet([("a", pictures, TEXT)]).tobytes() == sheet([("a", pictures, TEXT)]).tobytes()
    assert [picture.tobytes() for picture in pictures] == before


@pytest.mark.parametrize("count", [0, MOST + 1])
def test_no_sample_and_too_many_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"got {count}"):
        sheet([("a", [_flat(RED)], TEXT)] * count)
