"""Digit scenes: a 4 x 4 grid of coloured handwritten digits, with letters and a REF frame.

In a 64-pixel scene a cell is 16 pixels, the patch of one language token of the tiny models. A cell
keeps its upper left corner free for a letter, so that nothing hides a digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentvr.data.record import Box
from latentvr.data.toy.glyphs import frame_bank, letter_bank
from latentvr.data.toy.sources import scan_table, scans
from latentvr.errors import RecordError

GRID = 4
N_CELLS = GRID * GRID
NONE = -1
COLOURS = ("red", "green", "blue", "yellow", "purple")
PALETTE = np.array(
    [[255, 50, 50], [40, 220, 60], [70, 110, 255], [255, 225, 40], [200, 80, 255]], dtype=np.float32
)
REF = 0

Grid = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cells:
    """What each cell of a scene holds: five (4, 4) grids, row by row from the top, -1 for nothing.

    Attributes:
        scans: id of the digit scan.
        digits: digit class, 0 to 9.
        colours: index into `COLOURS`.
        marks: `REF` where the REF frame is.
        letters: index into `glyphs.LETTERS`.
    """

    scans: Grid
    digits: Grid
    colours: Grid
    marks: Grid
    letters: Grid

    def rearranged(self, order: npt.NDArray[np.int64]) -> Cells:
        """Give new cells: cell k (row by row) gets what cell order[k] holds, without marks and letters."""
        moved, digits, colours = (
            grid.reshape(-1)[order].reshape(GRID, GRID) for grid in (self.scans, self.digits, self.colours)
        )
        return Cells(moved, digits, colours, marks=_empty(), letters=_empty())

    def scan_ids(self) -> list[int]:
        """Give the ids of all scans in the scene, in reading order."""
        return [int(scan) for scan in self.scans.reshape(-1) if scan != NONE]


@dataclass(frozen=True)
class Scene:
    """A scene with its dense labels.

    Attributes:
        image: (size, size, 3) RGB.
        cells: what is drawn in each cell.
    """

    image: Pixels
    cells: Cells


def check_size(size: int) -> None:
    """Refuse a side length, in pixels, that the grid or the letters do not fit.

    Args:
        size: side in pixels.

    Raises:
        RecordError: the size is not a positive multiple of 64.
    """
    if size < 64 or size % 64:
        raise RecordError(
            f"expected a size that is a multiple of 64 pixels, got {size}, at toy data; fix: use 64 or 128"
        )


def cell_box(cell: int, image: int = 0) -> Box:
    """Give the box of a cell (0 to 15, row by row)."""
    row, column = divmod(int(cell), GRID)
    return Box(image, (column / GRID, row / GRID, (column + 1) / GRID, (row + 1) / GRID))


def place(
    rng: np.random.Generator,
    split: str,
    where: npt.NDArray[np.int64],
    digits: npt.NDArray[np.int64],
    colours: npt.NDArray[np.int64],
    scan_ids: npt.NDArray[np.int64] | None = None,
) -> Cells:
    """Put n digits into n different cells.

    Args:
        rng: draws the scans that are not given.
        split: where scans are drawn from.
        where: (n,) cells, 0 to 15.
        digits: (n,) digit classes.
        colours: (n,) colour ids.
        scan_ids: (n,) scans of these digits, or None to draw them.

    Returns:
        Cells with the digits, without marks and letters.
    """
    chosen = scan_table(split).pick(rng, digits) if scan_ids is None else scan_ids
    cells = Cells(*(_empty() for _ in range(5)))
    cells.scans.reshape(-1)[where] = chosen
    cells.digits.reshape(-1)[where] = digits
    cells.colours.reshape(-1)[where] = colours
    return cells


def render(rng: np.random.Generator, cells: Cells, size: int, brightness: float = 1.0) -> Pixels:
    """Draw the cells on a dark background of random colour: (size, size, 3) RGB."""
    cell = size // GRID
    background = rng.integers(0, 48, 3).astype(np.float32)
    ink = _digit_bank(cell)[cells.scans.reshape(-1)][..., None]
    colours = PALETTE[cells.colours.reshape(-1)][:, None, None, :] * np.float32(brightness)
    tiles = background + ink * (colours - background)
    tiles[letter_bank(cell)[cells.letters.reshape(-1)]] = 255
    tiles[frame_bank(cell)[cells.marks.reshape(-1)]] = 255
    grid = tiles.astype(np.uint8).reshape(GRID, GRID, cell, cell, 3)
    return np.ascontiguousarray(grid.transpose(0, 2, 1, 3, 4)).reshape(size, size, 3)


def scene(split: str, seed: int, i: int, size: int = 64) -> Scene:
    """Give scene i of an endless series, to supervise a vision tower cell by cell.

    A scene holds 4 to 14 digits; half have a REF frame and three quarters have the letters A to D,
    each beside a digit.

    Args:
        split: "train", "validation" or "test"; decides which scans may occur.
        seed: of the series.
        i: index in the series.
        size: side of the image in pixels, a multiple of 64.

    Returns:
        The image and its labels.

    Raises:
        RecordError: the split or the size is not allowed.
    """
    check_size(size)
    rng = np.random.default_rng([seed, i])
    where = rng.permutation(N_CELLS)[: int(rng.integers(4, 15))]
    n = len(where)
    cells = place(rng, split, where, rng.integers(0, 10, n), rng.integers(0, len(COLOURS), n))
    if rng.random() < 0.75:
        cells.letters.reshape(-1)[where[:4]] = np.arange(4)
    if rng.random() < 0.5:
        # The frame would cross a letter, so it takes a cell without one.
        free = where[cells.letters.reshape(-1)[where] == NONE]
        if len(free):
            cells.marks.reshape(-1)[free[0]] = REF
    return Scene(render(rng, cells, size), cells)


def digit_ink(scan: int, width: int, height: int) -> npt.NDArray[np.float32]:
    """Scale a scan to (height, width) ink in [0, 1], smoothly; its empty first column is cut off."""
    ink = Image.fromarray(scans()[0][scan][:, 1:])
    scaled = ink.resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(scaled, dtype=np.float32), 0, 1)


def _empty() -> Grid:
    return np.full((GRID, GRID), NONE, dtype=np.int64)


@lru_cache(maxsize=4)
def _digit_bank(cell: int) -> npt.NDArray[np.float32]:
    """Cell-sized ink of every scan, and an empty cell at index -1."""
    unit = cell // 16
    n_scans = len(scans()[0])
    bank = np.zeros((n_scans + 1, cell, cell), dtype=np.float32)
    for scan in range(n_scans):
        bank[scan, unit : 14 * unit, 5 * unit : 15 * unit] = digit_ink(scan, 10 * unit, 13 * unit)
    return bank
