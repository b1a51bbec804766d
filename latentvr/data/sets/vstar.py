"""V*Bench (hub `craigwu/vstar_bench`): 191 questions on small things in large pictures.

On disk: `test_questions.jsonl` with question_id, image ("direct_attributes/sa_4690.jpg"), text (question,
options and an instruction), category and label (a letter), and the folders of the pictures beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import Place, shown, text, wrong
from latentvr.data.sets.lines import published_lines
from latentvr.data.sets.options import parted

FILE = "test_questions.jsonl"
CATEGORIES = ("direct_attributes", "relative_position")
# The questions of the first category come first.
_LAST_OF_THE_FIRST = 114
_DIGITS = 9


@dataclass(frozen=True)
class VstarRow:
    """One question.

    Attributes:
        id: question_id.
        image: path of the picture below the root.
        text: question, options and instruction, as the benchmark writes them.
        question: without options and instruction.
        choices: texts of the options.
        category: "direct_attributes" or "relative_position".
        answer: a letter.
        where: file and row.
    """

    id: str
    image: str
    text: str
    question: str
    choices: tuple[str, ...]
    category: str
    answer: str
    where: str


def rows(path: Path) -> list[VstarRow]:
    """Read the questions in the order of the file.

    Args:
        path: the folder, or the file itself.

    Returns:
        The rows.

    Raises:
        RecordError: no file, or a row of another form.
    """
    file = path if path.is_file() else path / FILE
    if not file.is_file():
        raise wrong(FILE, "none", path, "name the folder of V*Bench")
    made: list[VstarRow] = []
    for number, value in published_lines(file, file.name):
        place = Place(file.name, number, "test", "")
        if not isinstance(value, dict):
            raise wrong("a JSON object", type(value).__name__, place, "download the file again")
        made.append(_row(value, place))
    return made


def _row(row: dict[str, Any], place: Place) -> VstarRow:
    number = row.get("question_id")
    if isinstance(number, bool) or not str(number).isdecimal() or len(str(number)) > _DIGITS:
        raise wrong('a number "question_id"', shown(number), place, "download the file again")
    whole = text(row, "text", place)
    parts = parted(whole)
    return VstarRow(
        id=str(number),
        image=text(row, "image", place),
        text=whole,
        question=parts.before,
        choices=parts.options,
        category=_category(row, int(str(number)), place),
        answer=text(row, "label", place).strip().strip("()").upper(),
        where=str(place),
    )


def _category(row: dict[str, Any], number: int, place: Place) -> str:
    """The row's own, or else the one that its number stands for."""
    default = CATEGORIES[0] if number <= _LAST_OF_THE_FIRST else CATEGORIES[1]
    category = text(row, "category", place, default)
    if category not in CATEGORIES:
        raise wrong(f"a category of {', '.join(CATEGORIES)}", shown(category), place, "correct it")
    return category
