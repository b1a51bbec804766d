"""Maps by depth share one scale and stand in the right row and column."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from latentvr.evaluation.overlay_grid import layer_grids, photograph

GREY = Image.new("RGB", (640, 480), (128, 128, 128))
RANGES, SLOTS = 3, 6


def maps(images: int = 1, slots: int = SLOTS, ranges: int = RANGES) -> list[list[np.ndarray]]:
    return [[np.full((slots, 3, 4), 1e-3, np.float32) for _ in range(images)] for _ in range(ranges)]


def lightness(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(encoded)).convert("L"), np.float32)


def test_rows_are_depths_and_columns_are_groups_of_latents() -> None:
    (grid,) = layer_grids("r1", [GREY], maps())
    assert grid.title == "r1"
    assert grid.columns == ("latents 1\u20132", "latents 3\u20134", "latent 5", "latent 6")
    assert [name for name, _ in grid.rows] == [
        f"{depth} layers, max 0.001" for depth in ("early", "middle", "late")
    ]
    assert grid.rows[2][1][3].label == "late layers, latent 6, max 0.001"
    assert "brightest colour is 0.001 in every cell" in grid.note


def test_cells_are_small_jpegs() -> None:
    (grid,) = layer_grids("r1", [GREY], maps())
    for picture in [grid.picture, *(cell for _, cells in grid.rows for cell in cells)]:
        image = Image.open(BytesIO(picture.encoded))
        assert (image.format, image.size) == ("JPEG", (192, 144))


def test_the_heaviest_weight_of_the_sample_is_the_lightest_place() -> None:
    weights = maps(images=2)
    weights[1][1][4, 0, 3] = 0.5
    weights[0][0][0, 2, 0] = 0.1
    first, second = layer_grids("r1", [GREY, GREY], weights)
    assert (first.title, second.title) == ("r1, image 1", "r1, image 2")
    bright = lightness(second.rows[1][1][2].encoded)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert row < 48
    assert column >= 144
    others = [cell for grid in (first, second) for _, cells in grid.rows for cell in cells]
    others.remove(second.rows[1][1][2])
    # A scale of its own would make the largest weight of each cell as light as that of the sample.
    assert max(lightness(cell.encoded).max() for cell in others) < bright.max() - 50


def test_regions_are_drawn_on_their_own_image() -> None:
    plain = layer_grids("r1", [GREY, GREY], maps(images=2))
    boxed = layer_grids("r1", [GREY, GREY], maps(images=2), [(1, (0.2, 0.2, 0.6, 0.6))])
    assert plain[0] == boxed[0]
    assert "regions" in boxed[1].picture.label
    for before, after in zip(plain[1].rows, boxed[1].rows, strict=True):
        assert all(a.encoded != b.encoded for a, b in zip(before[1], after[1], strict=True))


def test_without_latents_there_is_no_grid() -> None:
    assert layer_grids("r1", [GREY], maps(slots=0)) == ()
    assert layer_grids("r1", [], maps(images=0)) == ()


def test_weights_of_zero_can_be_drawn() -> None:
    (grid,) = layer_grids("r1", [GREY], [[np.zeros((1, 2, 2), np.float32)]])
    assert grid.columns == ("latent 1",)
    assert [name for name, _ in grid.rows] == ["layers, part 1 of 1, max 0"]


def test_every_image_needs_its_maps() -> None:
    with pytest.raises(ValueError, match="longer"):
        layer_grids("r1", [GREY, GREY], maps(images=1))


def test_photographs_are_small() -> None:
    image = Image.open(BytesIO(photograph("image 1", Image.new("RGB", (4000, 3000))).encoded))
    assert (image.format, image.size) == ("JPEG", (320, 240))
