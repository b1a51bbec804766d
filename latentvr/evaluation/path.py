"""Plans on a grid of ice and holes (visual spatial planning): reading and carrying out."""

from __future__ import annotations

import re
from typing import Any

from latentvr.errors import RecordError

START, GOAL, HOLE = 1, 2, -1
_STEPS = {"L": (0, -1), "R": (0, 1), "U": (-1, 0), "D": (1, 0)}
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_ONLY_MOVES = re.compile(r"[LRUD\s,;>.\-\[\]'\"]*")


def moves(text: str) -> str | None:
    r"""Give the moves of a plan as letters L, R, U and D.

    The last `\boxed{...}` counts; without one the text must hold nothing but moves and separators.
    """
    boxed = _BOXED.findall(text)
    if not boxed and not _ONLY_MOVES.fullmatch(text):
        return None
    return "".join(c for c in (boxed[-1] if boxed else text).upper() if c in _STEPS) or None


def reaches_goal(plan: str, grid: Any, where: str) -> bool:
    """Carry a plan out: a step off the grid does nothing, a hole ends it, success is to end on the goal.

    Args:
        plan: letters L, R, U and D.
        grid: rows of cells: 1 start, 2 goal, -1 hole, 0 ice.
        where: how error messages call the record.

    Returns:
        Whether the plan ends on the goal.

    Raises:
        RecordError: the grid is no grid with one start.
    """
    cells = _cells(grid, where)
    row, column = next(place for place, cell in cells.items() if cell == START)
    for move in plan:
        step = _STEPS[move]
        place = (row + step[0], column + step[1])
        if place not in cells:
            continue
        row, column = place
        if cells[place] == HOLE:
            return False
    return cells[row, column] == GOAL


def _cells(grid: Any, where: str) -> dict[tuple[int, int], int]:
    rows = grid if isinstance(grid, list) and all(isinstance(row, list) for row in grid) else []
    cells = {(i, j): cell for i, row in enumerate(rows) for j, cell in enumerate(row)}
    if list(cells.values()).count(START) != 1:
        raise RecordError(
            "expected a map with one start (rows of 1 start, 2 goal, -1 hole, 0 ice), "
            f"got {str(grid)[:60]!r}, at {where}; fix: correct meta.map_desc"
        )
    return cells
