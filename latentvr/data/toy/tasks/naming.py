"""Naming: simple questions that teach a tiny model to say what a scene holds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latentvr.data.record import AnswerType, Box
from latentvr.data.toy.example import Draw, Example, Task
from latentvr.data.toy.glyphs import LETTERS
from latentvr.data.toy.scenes import COLOURS, GRID, N_CELLS, NONE, REF, Cells, cell_box, place, render

ROWS = ("one", "two", "three", "four")
EMPTY = "none"
DIGIT_AT_MARK = "what digit is at the ref mark ?"
COLOUR_AT_MARK = "what colour is the digit at the ref mark ?"


def _digit_at_mark(draw: Draw) -> Example:
    cells, target = _cells(draw, digit=draw.rank)
    cells.marks.reshape(-1)[target] = REF
    return _example(draw, cells, DIGIT_AT_MARK, str(draw.rank), "number", (cell_box(target),))


def _colour_at_mark(draw: Draw) -> Example:
    cells, target = _cells(draw, colour=draw.rank)
    cells.marks.reshape(-1)[target] = REF
    return _example(draw, cells, COLOUR_AT_MARK, COLOURS[draw.rank], "text", (cell_box(target),))


def _colour_of_digit(draw: Draw) -> Example:
    cells, target = _cells(draw, colour=draw.rank)
    question = _colour_question(int(cells.digits.reshape(-1)[target]))
    return _example(draw, cells, question, COLOURS[draw.rank], "text", (cell_box(target),))


def _letter_of_digit(draw: Draw) -> Example:
    cells, target = _lettered(draw)
    question = _letter_question(int(cells.digits.reshape(-1)[target]))
    return _example(draw, cells, question, LETTERS[draw.rank], "mcq", (cell_box(target),), LETTERS)


def _digit_at_letter(draw: Draw) -> Example:
    cells, target = _lettered(draw)
    answer = str(int(cells.digits.reshape(-1)[target]))
    return _example(draw, cells, _digit_question(LETTERS[draw.rank]), answer, "number", (cell_box(target),))


def _row(draw: Draw) -> Example:
    cells, _ = _cells(draw)
    pairs = zip(cells.colours[draw.rank], cells.digits[draw.rank], strict=True)
    answer = " ".join(EMPTY if digit == NONE else f"{COLOURS[colour]} {digit}" for colour, digit in pairs)
    top = draw.rank / GRID
    box = Box(0, (0.0, top, 1.0, top + 1 / GRID))
    return _example(draw, cells, _row_question(ROWS[draw.rank]), answer, "text", (box,))


def _cells(draw: Draw, digit: int | None = None, colour: int | None = None) -> tuple[Cells, int]:
    """Place 5 to 10 digits of different classes; the first, whose cell is given too, may be fixed."""
    cells, where = _placed(draw, digit, colour)
    return cells, int(where[0])


def _lettered(draw: Draw) -> tuple[Cells, int]:
    """Place digits, four of them with letters, and give the cell of letter `draw.rank`."""
    cells, where = _placed(draw, None, None)
    cells.letters.reshape(-1)[where[:4]] = np.arange(4)
    return cells, int(where[draw.rank])


def _placed(draw: Draw, digit: int | None, colour: int | None) -> tuple[Cells, npt.NDArray[np.int64]]:
    rng = draw.rng
    n = int(rng.integers(5, 11))
    digits = rng.permutation(10)
    if digit is not None:
        digits = (digits - digits[0] + digit) % 10
    colours = rng.integers(0, len(COLOURS), n)
    if colour is not None:
        colours[0] = colour
    where = rng.permutation(N_CELLS)[:n]
    return place(rng, draw.split, where, digits[:n], colours), where


def _example(
    draw: Draw,
    cells: Cells,
    question: str,
    answer: str,
    answer_type: AnswerType,
    boxes: tuple[Box, ...],
    choices: tuple[str, ...] = (),
) -> Example:
    image = render(draw.rng, cells, draw.size)
    meta = {"scans": cells.scan_ids()}
    return Example((image,), question, answer, answer_type, boxes, choices, meta=meta)


def _colour_question(digit: int) -> str:
    return f"what colour is the digit {digit} ?"


def _letter_question(digit: int) -> str:
    return f"which letter marks the digit {digit} ?"


def _digit_question(letter: str) -> str:
    return f"what digit is at the letter {letter} ?"


def _row_question(row: str) -> str:
    return f"list the digits of row {row} ."


def _digits() -> list[str]:
    return [str(digit) for digit in range(10)]


def _row_phrases() -> list[str]:
    items = [EMPTY, *(f"{colour} {digit}" for colour in COLOURS for digit in range(10))]
    return [*(_row_question(row) for row in ROWS), *items]


TASKS = (
    Task("digit_at_mark", 10, _digit_at_mark, lambda: [DIGIT_AT_MARK, *_digits()]),
    Task("colour_at_mark", 5, _colour_at_mark, lambda: [COLOUR_AT_MARK, *COLOURS]),
    Task("colour_of_digit", 5, _colour_of_digit, lambda: [*map(_colour_question, range(10)), *COLOURS]),
    Task("letter_of_digit", 4, _letter_of_digit, lambda: [*map(_letter_question, range(10)), *LETTERS]),
    Task("digit_at_letter", 4, _digit_at_letter, lambda: [*map(_digit_question, LETTERS), *_digits()]),
    Task("row", 4, _row, _row_phrases),
)
