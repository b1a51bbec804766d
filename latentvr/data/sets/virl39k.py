"""ViRL39K (TIGER-Lab/ViRL39K): `39Krelease.parquet` and the unpacked `images.zip` beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import shown, wrong
from latentvr.data.sets.lazy_table import LazyTable

TABLE = "39Krelease.parquet"
_COLUMNS = ("question", "answer", "category", "source", "qid", "image")
_RATES = ("PassRate_32BTrained", "PassRate_7BBase")


@dataclass(frozen=True)
class VirlRow:
    """A row.

    Attributes:
        qid: id of the question, unique in the set.
        question: with its `<image>` marks.
        answer: in a box of LaTeX.
        images: names such as "images/Processed-1.jpg", below the data set's folder.
        category: of the question.
        source: data set that it was taken from.
        rates: pass rates of two models by column, where the row has them.
        where: file and row, as errors name it.
    """

    qid: str
    question: str
    answer: str
    images: tuple[str, ...]
    category: str
    source: str
    rates: dict[str, float]
    where: str


def table(root: Path) -> Path:
    """Find the table.

    Args:
        root: the data set's folder.

    Returns:
        The parquet file.

    Raises:
        RecordError: there is none.
    """
    if not (root / TABLE).is_file():
        raise wrong(TABLE, "none", root, "name the folder that holds it and the unpacked images.zip")
    return root / TABLE


def rows(root: Path) -> Iterator[VirlRow]:
    """Read the table row by row.

    Args:
        root: the data set's folder.

    Yields:
        VirlRow: each row.

    Raises:
        RecordError: the file is missing or damaged, or lacks a column.
    """
    file = table(root)
    opened = LazyTable(file, TABLE)
    names = opened.columns
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise wrong(f"the columns {', '.join(missing)}", ", ".join(names)[:200], file, "download it again")
    for index, row in opened.rows((*_COLUMNS, *_RATES)):
        yield _row(row, opened.where(index))


def _row(row: dict[str, Any], where: str) -> VirlRow:
    images = [row["image"]] if isinstance(row["image"], str) else row["image"] or []
    listed = isinstance(images, list) and all(isinstance(name, str) for name in images)
    if not row["qid"] or not listed:
        raise wrong(
            "a qid and names of images", shown([row["qid"], images]), where, "download the file again"
        )
    for name in ("question", "answer"):
        if row[name] is not None and not isinstance(row[name], str):
            raise wrong(f"a text as {name}", shown(row[name]), where, "download the file again")
    return VirlRow(
        qid=str(row["qid"]),
        question=row["question"] or "",
        answer=row["answer"] or "",
        images=tuple(images),
        category=str(row["category"] or ""),
        source=str(row["source"] or ""),
        rates=_rates(row, where),
        where=where,
    )


def _rates(row: dict[str, Any], where: str) -> dict[str, float]:
    """The rates that were measured; the others are null or not a number, and neither is JSON."""
    given = {name: row[name] for name in _RATES if row.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, int | float):
            raise wrong(f"a number as {name}", shown(value), where, "download the file again")
    return {name: float(value) for name, value in given.items() if math.isfinite(value)}
