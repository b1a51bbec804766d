"""Odd one out: three of four lettered tiles show the same digit in different hands."""

from __future__ import annotations

import numpy as np

from latentvr.data.toy.example import Draw, Example, Task
from latentvr.data.toy.glyphs import LETTERS
from latentvr.data.toy.scenes import COLOURS, N_CELLS, cell_box, place, render
from latentvr.data.toy.sources import scan_table

QUESTION = "which tile is the odd one out ?"


def _make(draw: Draw) -> Example:
    rng, table = draw.rng, scan_table(draw.split)
    common, odd = rng.permutation(10)[:2]
    where = np.sort(rng.permutation(N_CELLS)[:4])
    digits = np.full(4, common)
    digits[draw.rank] = odd
    scan_ids = np.empty(4, dtype=np.int64)
    scan_ids[digits == common] = table.pick_distinct(rng, int(common), 3)
    scan_ids[draw.rank] = table.pick_distinct(rng, int(odd), 1)[0]
    colours = rng.integers(0, len(COLOURS), 4)
    cells = place(rng, draw.split, where, digits, colours, scan_ids)
    cells.letters.reshape(-1)[where] = np.arange(4)
    return Example(
        images=(render(rng, cells, draw.size),),
        question=QUESTION,
        answer=LETTERS[draw.rank],
        answer_type="mcq",
        boxes=(cell_box(where[draw.rank]),),
        choices=LETTERS,
        meta={"scans": cells.scan_ids(), "digits": [int(digit) for digit in digits]},
    )


TASK = Task("similarity", 4, _make, lambda: [QUESTION, *LETTERS])
