"""RoboSpatial-Home (hub `chanhee-luke/RoboSpatial-Home`, Apache-2.0): questions on rooms seen by a robot.

On disk: one parquet file for each split, `data/configuration-00000-of-00001.parquet`, with category,
question, answer, img, depth_image and mask. Configuration and compatibility are answered by yes or no,
context by points; its answer is the outline of the region, a list of (x, y) between 0 and 1.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import Place, shown, text, wrong
from latentvr.data.sets.lazy_table import LazyTable
from latentvr.data.sets.stored import Stored

SPLITS = ("configuration", "compatibility", "context")
_SPLIT = re.compile(rf"({'|'.join(SPLITS)})(?:[-_.])")
_TEXTS = ("category", "question", "answer")


@dataclass(frozen=True)
class RobospatialRow:
    """One question.

    Attributes:
        id: split and number of the row in it.
        split: "configuration", "compatibility" or "context".
        category: as the row has it; the split where it has none.
        question: with the benchmark's own instruction.
        answer: "yes" or "no", or the outline of a region as text.
        picture: where the picture lies.
        mask: where the region's mask lies, if the file has it.
        where: file and row.
    """

    id: str
    split: str
    category: str
    question: str
    answer: str
    picture: Stored
    mask: Stored | None
    where: str


def rows(path: Path) -> list[RobospatialRow]:
    """Read the questions: configuration, compatibility, context, as far as they are there.

    Args:
        path: the folder, or one parquet file.

    Returns:
        The rows, split by split.

    Raises:
        RecordError: no parquet file, or a column or value of another form.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise wrong(
            "parquet files such as data/context-*.parquet", "none", path, "name the data set's folder"
        )
    made: list[RobospatialRow] = []
    numbers: Counter[str] = Counter()
    for file in files:
        table = LazyTable(file, file.name if file == path else file.relative_to(path).as_posix())
        missing = [name for name in ("question", "answer", "img") if name not in table.columns]
        if missing:
            raise wrong(f"columns {', '.join(missing)}", "others", table.name, "keep to RoboSpatial's files")
        made += _rows(table, file, numbers)
    made.sort(key=lambda row: SPLITS.index(row.split))
    return made


def _rows(table: LazyTable, file: Path, numbers: Counter[str]) -> list[RobospatialRow]:
    """Rows of one file; the rows of a split are numbered through all its files."""
    named = _SPLIT.match(file.name)
    with_mask = table.filled("mask") if "mask" in table.columns else None
    made = []
    for index, row in table.rows(_TEXTS):
        place = Place(table.name, index + 1, "test", "")
        split = named[1] if named else text(row, "category", place)
        if split not in SPLITS:
            raise wrong(f"a split of {', '.join(SPLITS)}", shown(split), place, "keep the file's own name")
        numbers[split] += 1
        mask = Stored(table, index, "mask") if with_mask and with_mask[index] else None
        made.append(
            RobospatialRow(
                f"{split}/{numbers[split]:04d}",
                split,
                text(row, "category", place, split),
                text(row, "question", place),
                _answer(row, split, place),
                Stored(table, index, "img"),
                mask,
                str(place),
            )
        )
    return made


def _answer(row: dict[str, Any], split: str, place: Place) -> str:
    answer = text(row, "answer", place).strip()
    if split == "context":
        return answer
    if answer.lower() not in ("yes", "no"):
        raise wrong("yes or no as the answer", shown(answer), place, "download the file again")
    return answer.lower()
