"""The marks drawn on toy scenes: 5 x 7 letters A to D and the frame that stands for REF."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

LETTERS = ("A", "B", "C", "D")
GLYPH_WIDTH = 5
GLYPH_HEIGHT = 7

_BITMAPS = {
    "A": ("..#..", ".#.#.", "#...#", "#...#", "#####", "#...#", "#...#"),
    "B": ("####.", "#...#", "#...#", "####.", "#...#", "#...#", "####."),
    "C": (".####", "#....", "#....", "#....", "#....", "#....", ".####"),
    "D": ("###..", "#..#.", "#...#", "#...#", "#...#", "#..#.", "###.."),
}


@lru_cache(maxsize=64)
def glyph(letter: str, scale: int) -> npt.NDArray[np.bool_]:
    """Give a letter as a mask of shape (7 * scale, 5 * scale)."""
    bits = np.array([[char == "#" for char in row] for row in _BITMAPS[letter]])
    return np.kron(bits, np.ones((scale, scale), dtype=bool)).astype(np.bool_)


@lru_cache(maxsize=8)
def letter_bank(cell: int) -> npt.NDArray[np.bool_]:
    """Give cell masks of the four letters, and an empty one at index -1: (5, cell, cell).

    The letter stands in the upper left corner, where `scenes` leaves room beside the digit.
    """
    bank = np.zeros((len(LETTERS) + 1, cell, cell), dtype=np.bool_)
    scale = cell // 16
    for index, letter in enumerate(LETTERS):
        bank[index, : GLYPH_HEIGHT * scale, : GLYPH_WIDTH * scale] = glyph(letter, scale)
    return bank


@lru_cache(maxsize=8)
def frame_bank(cell: int) -> npt.NDArray[np.bool_]:
    """Give cell masks of the REF frame, and an empty one at index -1: (2, cell, cell)."""
    line = cell // 16
    bank = np.zeros((2, cell, cell), dtype=np.bool_)
    bank[0] = True
    bank[0, line:-line, line:-line] = False
    return bank
