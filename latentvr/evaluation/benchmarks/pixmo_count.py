"""PixMo-Count, test split: how many objects an image shows, among the images that are still to be had."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from latentvr.data.builders.hashes import file_sha256
from latentvr.data.builders.prompts import prompt
from latentvr.data.readers.fields import MARK, Place, shown, text, wrong
from latentvr.data.record import Record
from latentvr.data.sets import pixmo
from latentvr.data.sets.lazy_table import LazyTable
from latentvr.data.sets.stored import Stored
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.predicted import joined, part, whole
from latentvr.evaluation.benchmarks.source import BenchmarkSource, Item, Picture, below, name_of
from latentvr.evaluation.measures import Measure
from latentvr.evaluation.metrics import Prediction

logger = logging.getLogger(__name__)

_WITH_IMAGES = ("image", "question", "answer")
_DIGITS = re.compile(r"\d+")


class PixmoCount(Benchmark):
    """PixMo-Count (arXiv 2409.17146)."""

    name = "pixmo_count"
    title = "PixMo-Count"
    hub = "kcz358/pixmo-count"
    licence = "ODC-BY; images keep the terms of their sites"
    patterns = ("data/test-*.parquet", "test-*.parquet")

    def load(self, path: Path) -> BenchmarkSource:
        """Read the published parquet with downloaded images, or a copy with images inside it.

        The published form is a folder: `data/test-*.parquet` and `images/<sha256>.*`. Rows whose image is
        not there ("dead") or has another hash ("changed") are left out; `BenchmarkSource.notes` and the log
        say how many. The other form has the columns image, question and answer.
        """
        files = [path] if path.is_file() else pixmo.tables(path, "test")
        tables = [LazyTable(file, file.name) for file in files]
        if all(set(_WITH_IMAGES) <= set(table.columns) for table in tables):
            return BenchmarkSource(list(_inside(tables)), path)
        if path.is_file():
            expected = f"columns {', '.join(_WITH_IMAGES)} in a single file"
            raise wrong(expected, "others", path.name, "name the folder that holds data and images")
        return _beside(path)

    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """Share of right counts, of all images that are there or of a part of them."""
        made = joined(records, predictions)
        return whole(self.title, records, made) + part(records, made)


def _beside(path: Path) -> BenchmarkSource:
    items: list[Item] = []
    lost = {"dead": 0, "changed": 0}
    for number, row in enumerate(pixmo.rows(path, "test"), start=1):
        if row.image is None:
            lost["dead"] += 1
        elif file_sha256(row.image) != row.sha256:
            lost["changed"] += 1
        else:
            asked = prompt("Counting", label=row.label)
            meta = {"sha256": row.sha256, "label": row.label}
            items.append(_item(number, asked, row.count, below(row.image, path), row.where, meta))
    logger.info("PixMo-Count: %d images, %d dead, %d changed", len(items), lost["dead"], lost["changed"])
    return BenchmarkSource(items, path, {"rows": len(items) + sum(lost.values()), **lost})


def _inside(tables: Sequence[LazyTable]) -> Iterator[Item]:
    rows = ((table, index, row) for table in tables for index, row in table.rows(("question", "answer")))
    for number, (table, index, row) in enumerate(rows, start=1):
        place = Place(table.name, index + 1, "test", "")
        found = _DIGITS.search(str(row["answer"]))
        if found is None:
            raise wrong("an answer with a number in it", shown(row["answer"]), place, "correct the answer")
        question = text(row, "question", place).replace(MARK, "").strip()
        yield _item(number, question, int(found[0]), Stored(table, index, "image"), str(place), {})


def _item(number: int, asked: str, count: int, picture: Picture, where: str, meta: dict[str, Any]) -> Item:
    record = Record(
        id=f"pixmo_count/{number:04d}",
        task="PixMo-Count",
        split="test",
        images=(name_of(picture),),
        prompt=asked,
        answer=str(count),
        answer_type="number",
        question=asked,
        meta=meta,
    )
    return Item(record, where, (picture,))
