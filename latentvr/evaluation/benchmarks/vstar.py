"""V*Bench: 115 questions on attributes and 76 on relative positions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentvr.data.record import Record
from latentvr.data.sets import vstar
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.predicted import complete, joined, part, shares, whole
from latentvr.evaluation.benchmarks.source import BenchmarkSource, Item
from latentvr.evaluation.measures import Measure
from latentvr.evaluation.metrics import Prediction


class Vstar(Benchmark):
    """V*Bench (arXiv 2312.14135)."""

    name = "vstar"
    title = "V*Bench"
    hub = "craigwu/vstar_bench"
    licence = "see the data set's page"
    patterns = (vstar.FILE, *(f"{category}/*" for category in vstar.CATEGORIES))

    def load(self, path: Path) -> BenchmarkSource:
        """Read the questions; the pictures lie in the folders beside them."""
        return BenchmarkSource([_item(row) for row in vstar.rows(path)], path)

    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """All questions pooled, then the two categories; each only where all its questions were answered."""
        pairs = joined(records, predictions)
        made = whole(self.title, records, pairs) + shares(complete(records, pairs))
        return made + part(records, pairs)


def _item(row: vstar.VstarRow) -> Item:
    record = Record(
        id=f"vstar/{row.id}",
        task=row.category,
        split="test",
        images=(row.image,),
        prompt=row.text,
        answer=row.answer,
        answer_type="mcq",
        question=row.question,
        choices=row.choices,
    )
    return Item(record, row.where, (row.image,))
