"""HR-Bench (hub `DreamMr/HR-Bench`): 200 questions on pictures of 4K and 8K, each in four orders of options.

On disk: for each version `hr_bench_4k.parquet`, or `hrbench_4k-*.parquet`, or `hr_bench_4k.tsv`, with index,
question, answer (a letter), category ("single" or "cross"), A to D, cycle_category and image (base64 text).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.prompt import letters
from latentvr.data.readers.fields import Place, shown, text, wrong
from latentvr.data.sets.lazy_table import LazyTable
from latentvr.data.sets.lazy_tsv import LazyTsv
from latentvr.data.sets.stored import Stored

VERSIONS = ("4k", "8k")
CATEGORIES = ("single", "cross")
_OPTIONS = letters(4)
_TEXTS = ("index", "question", "answer", "category", "cycle_category", *_OPTIONS)


@dataclass(frozen=True)
class HrBenchRow:
    """One question in one order of its options.

    Attributes:
        id: version and number of the row.
        version: "4k" or "8k".
        index: as the file has it.
        question: without options.
        choices: texts of the options.
        answer: letter of the right one.
        category: "single" or "cross": on one thing, or on several.
        cycle: name of the order of the options.
        picture: where the picture lies.
        where: file and row.
    """

    id: str
    version: str
    index: str
    question: str
    choices: tuple[str, ...]
    answer: str
    category: str
    cycle: str
    picture: Stored
    where: str


def rows(path: Path) -> list[HrBenchRow]:
    """Read the questions of the versions that are there; the pictures stay on disk.

    Args:
        path: the folder, or one file whose name tells the version.

    Returns:
        The rows, 4k before 8k.

    Raises:
        RecordError: no file, or a row of another form.
    """
    made: list[HrBenchRow] = []
    for version in VERSIONS:
        number = 0
        for file in _files(path, version):
            table = (LazyTsv if file.suffix == ".tsv" else LazyTable)(file, file.name)
            missing = [name for name in (*_TEXTS, "image") if name not in table.columns]
            if missing:
                raise wrong(f"columns {', '.join(missing)}", "others", file.name, "keep to HR-Bench's files")
            for row in _rows(table, version, number):
                made.append(row)
                number += 1
    if not made:
        expected = "hr_bench_4k.parquet, hr_bench_8k.parquet or their .tsv"
        raise wrong(expected, "none", path, "name the folder of HR-Bench, or one of its files")
    return made


def _files(path: Path, version: str) -> list[Path]:
    """The first form of a version that is there; the same rows may lie in several."""
    if path.is_file():
        return [path] if version in path.name.lower() else []
    forms = (f"hr_bench_{version}.parquet", f"hrbench_{version}-*.parquet", f"hr_bench_{version}.tsv")
    return next((found for form in forms if (found := sorted(path.rglob(form)))), [])


def _rows(table: LazyTable | LazyTsv, version: str, before: int) -> Iterator[HrBenchRow]:
    for index, row in table.rows(_TEXTS):
        place = Place(table.name, index + 1, "test", "")
        choices = _choices(row, place)
        answer, category = text(row, "answer", place).strip(), text(row, "category", place)
        if answer not in letters(len(choices)) or category not in CATEGORIES:
            got = f"{shown(answer)} and {shown(category)}"
            expected = f"the letter of an option, and a category of {', '.join(CATEGORIES)}"
            raise wrong(expected, got, place, "download the file again")
        yield HrBenchRow(
            f"hrbench{version}/{before + index + 1:04d}",
            version,
            str(row["index"]),
            text(row, "question", place).strip(),
            choices,
            answer,
            category,
            _written(row["cycle_category"]),
            Stored(table, index, "image"),
            str(place),
        )


def _choices(row: Mapping[str, Any], place: Place) -> tuple[str, ...]:
    """The options up to the first one that is empty."""
    found = [_written(row[letter]) for letter in _OPTIONS]
    count = found.index("") if "" in found else len(found)
    if count < 2 or any(found[count:]):
        raise wrong("at least two options from A on", shown(found), place, "download the file again")
    return tuple(found[:count])


def _written(value: object) -> str:
    """A cell as text; null and NaN stand for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()
