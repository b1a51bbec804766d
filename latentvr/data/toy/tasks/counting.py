"""Counting: how many digits of one colour, or of one class, are in the scene."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latentvr.data.toy.example import Draw, Example, Task
from latentvr.data.toy.scenes import COLOURS, N_CELLS, cell_box, place, render

# From one upwards, so that every question has a region that answers it.
COUNTS = range(1, 7)


def _split_values(draw: Draw, n_values: int) -> tuple[int, npt.NDArray[np.int64]]:
    """Choose the counted value and the values of all digits, the counted ones first.

    The number of digits is drawn without regard to the answer and so says little about it.
    """
    total = int(draw.rng.integers(7, 15))
    target = int(draw.rng.integers(n_values))
    values = draw.rng.integers(0, n_values - 1, total)
    values += values >= target
    values[: COUNTS[draw.rank]] = target
    return target, values


def _example(
    draw: Draw, question: str, digits: npt.NDArray[np.int64], colours: npt.NDArray[np.int64]
) -> Example:
    where = draw.rng.permutation(N_CELLS)[: len(digits)]
    cells = place(draw.rng, draw.split, where, digits, colours)
    count = COUNTS[draw.rank]
    return Example(
        images=(render(draw.rng, cells, draw.size),),
        question=question,
        answer=str(count),
        answer_type="number",
        boxes=tuple(cell_box(cell) for cell in sorted(where[:count])),
        meta={"scans": cells.scan_ids()},
    )


def _by_colour(draw: Draw) -> Example:
    target, colours = _split_values(draw, len(COLOURS))
    digits = draw.rng.integers(0, 10, len(colours))
    return _example(draw, _question(COLOURS[target]), digits, colours)


def _by_digit(draw: Draw) -> Example:
    target, digits = _split_values(draw, 10)
    colours = draw.rng.integers(0, len(COLOURS), len(digits))
    return _example(draw, _question(str(target)), digits, colours)


def _question(what: str) -> str:
    return f"how many {what} digits are there ?"


def _answers() -> list[str]:
    return [str(count) for count in COUNTS]


def _colour_phrases() -> list[str]:
    return [_question(colour) for colour in COLOURS] + _answers()


def _digit_phrases() -> list[str]:
    return [_question(str(digit)) for digit in range(10)] + _answers()


BY_COLOUR = Task("counting", len(COUNTS), _by_colour, _colour_phrases)
BY_DIGIT = Task("counting_class", len(COUNTS), _by_digit, _digit_phrases)
