"""Correspondence: find the digit under the REF frame again in a rearranged, dimmed view.

The four lettered digits differ in class and in colour, so that a tiny model can learn the task.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latentvr.data.toy.example import Draw, Example, Task
from latentvr.data.toy.glyphs import LETTERS
from latentvr.data.toy.scenes import COLOURS, GRID, N_CELLS, REF, cell_box, place, render

QUESTION = "which letter marks the digit at the ref mark of the first image ?"
VIEWS = ("mirror", "flip", "turn", "shift")


def _order(view: str, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Say which cell of the first image each cell of the second shows."""
    grid = np.arange(N_CELLS).reshape(GRID, GRID)
    if view == "mirror":
        grid = grid[:, ::-1]
    elif view == "flip":
        grid = grid[::-1]
    elif view == "turn":
        grid = np.rot90(grid, int(rng.integers(1, 4)))
    else:
        rows, columns = divmod(int(rng.integers(1, N_CELLS)), GRID)
        grid = np.roll(grid, (rows, columns), (0, 1))
    return grid.reshape(-1)


def _make(draw: Draw) -> Example:
    rng = draw.rng
    n = int(rng.integers(5, 9))
    where = rng.permutation(N_CELLS)[:n]
    digits = rng.permutation(10)[:n]
    colours = rng.integers(0, len(COLOURS), n)
    colours[:4] = rng.permutation(len(COLOURS))[:4]
    first = place(rng, draw.split, where, digits, colours)
    view = VIEWS[int(rng.integers(len(VIEWS)))]
    order = _order(view, rng)
    second = first.rearranged(order)
    marked = np.flatnonzero(np.isin(order, where[:4]))
    second.letters.reshape(-1)[marked] = np.arange(4)
    true_cell = marked[draw.rank]
    first.marks.reshape(-1)[order[true_cell]] = REF
    dim = float(rng.uniform(0.6, 1.0))
    return Example(
        images=(render(rng, first, draw.size), render(rng, second, draw.size, dim)),
        question=QUESTION,
        answer=LETTERS[draw.rank],
        answer_type="mcq",
        boxes=(cell_box(true_cell, image=1),),
        choices=LETTERS,
        meta={"scans": first.scan_ids(), "view": view},
    )


TASK = Task("correspondence", 4, _make, lambda: [QUESTION, *LETTERS])
