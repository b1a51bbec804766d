"""Scenes: the pixels must say what the labels say."""

from __future__ import annotations

import numpy as np
import pytest

from latentvr.data.toy import COLOURS, NONE, REF, scene
from latentvr.data.toy.scenes import PALETTE, check_size
from latentvr.data.toy.sources import scan_table, scans
from latentvr.errors import RecordError


def _tile(image: np.ndarray, row: int, column: int) -> np.ndarray:
    cell = image.shape[0] // 4
    return image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell].astype(float)


@pytest.mark.parametrize("size", [64, 128])
def test_labels_match_the_pixels(size: int) -> None:
    """Breaks if a grid is transposed, a colour is off by one or a mark is drawn in another cell."""
    for i in range(30):
        made = scene("train", 5, i, size)
        unit = size // 64
        for row in range(4):
            for column in range(4):
                tile = _tile(made.image, row, column)
                framed = bool((tile[-1] == 255).all())
                assert framed == (made.cells.marks[row, column] == REF)
                lettered = bool((tile[: 7 * unit, : 5 * unit] == 255).all(-1).any()) and not framed
                assert lettered == (made.cells.letters[row, column] != NONE)
                ink = tile[unit : 14 * unit, 5 * unit : 15 * unit].reshape(-1, 3)
                colour = int(made.cells.colours[row, column])
                if colour == NONE:
                    assert np.ptp(ink, axis=0).max() == 0
                    continue
                brightest = ink[np.argmax(ink.max(1))]
                assert np.argmin(np.abs(PALETTE - brightest).sum(1)) == colour


def test_digits_are_the_classes_of_their_scans() -> None:
    labels = scans()[1]
    cells = scene("test", 0, 3).cells
    filled = cells.scans != NONE
    assert filled.sum() >= 4
    assert (labels[cells.scans[filled]] == cells.digits[filled]).all()
    assert (cells.digits[~filled] == NONE).all()


def test_scenes_are_deterministic_and_different() -> None:
    assert scene("train", 1, 7).image.tobytes() == scene("train", 1, 7).image.tobytes()
    images = {
        scene(split, seed, i).image.tobytes()
        for split in ("train", "test")
        for seed in (0, 1)
        for i in (0, 1)
    }
    assert len(images) == 8


def test_every_label_occurs() -> None:
    """Breaks if a class is never drawn, which no dense supervision could then teach."""
    seen: dict[str, set[int]] = {"digits": set(), "colours": set(), "marks": set(), "letters": set()}
    for i in range(200):
        cells = scene("train", 0, i).cells
        for name, values in seen.items():
            values.update(getattr(cells, name).reshape(-1).tolist())
    assert seen["digits"] == {NONE, *range(10)}
    assert seen["colours"] == {NONE, *range(len(COLOURS))}
    assert seen["marks"] == {NONE, REF}
    assert seen["letters"] == {NONE, 0, 1, 2, 3}


def test_scans_of_the_splits_are_disjoint_and_complete() -> None:
    tables = [scan_table(split).ids for split in ("train", "validation", "test")]
    ids = [set(table[table != NONE].tolist()) for table in tables]
    assert sum(map(len, ids)) == len(set().union(*ids)) == 1797
    assert all(scan_table(split).counts.min() >= 15 for split in ("train", "validation", "test"))


@pytest.mark.parametrize("size", [0, 63, 96, -64])
def test_odd_sizes_are_refused(size: int) -> None:
    with pytest.raises(RecordError, match="expected a size that is a multiple of 64"):
        check_size(size)


def test_unknown_split_is_refused() -> None:
    with pytest.raises(RecordError, match="got 'dev'"):
        scene("dev", 0, 0)
