"""HR-Bench: pictures of 4K and 8K; a question counts in four orders of its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentvr.data.record import Record
from latentvr.data.sets import hrbench
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.predicted import complete, joined, part, pooled
from latentvr.evaluation.benchmarks.source import BenchmarkSource, Item, name_of
from latentvr.evaluation.measures import Measure, cyclic
from latentvr.evaluation.metrics import Prediction


class HrBench(Benchmark):
    """HR-Bench (arXiv 2408.15556)."""

    name = "hrbench"
    title = "HR-Bench"
    hub = "DreamMr/HR-Bench"
    licence = "see the data set's page"
    patterns = tuple(f"hr_bench_{version}.parquet" for version in hrbench.VERSIONS)

    def load(self, path: Path) -> BenchmarkSource:
        """Read the versions that are there."""
        return BenchmarkSource([_item(row) for row in hrbench.rows(path)], path)

    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """Per version: questions on one thing, on several, and all; each a mean over orders of options.

        A mean stands only where all its questions were answered in all orders.
        """
        made = joined(records, predictions)
        cycles = {pair.record.id: str(pair.record.meta["cycle_category"]) for pair in made}
        groups = complete(records, made, lambda record: f"{record.meta['version']} {record.meta['category']}")
        out = []
        for version in hrbench.VERSIONS:
            names = [f"{version} {category}" for category in hrbench.CATEGORIES]
            out += [cyclic(f"HR-Bench {name}", groups[name], cycles) for name in names if name in groups]
            together = pooled(groups, names)
            if together is not None:
                out.append(cyclic(f"HR-Bench {version} average", together, cycles))
        return out + part(records, made)


def _item(row: hrbench.HrBenchRow) -> Item:
    options = [f"{letter}. {text}" for letter, text in zip("ABCD", row.choices, strict=False)]
    record = Record(
        id=row.id,
        task=f"hrbench{row.version}/{row.category}",
        split="test",
        images=(name_of(row.picture),),
        prompt="\n".join([row.question, *options, "Answer the option letter directly."]),
        answer=row.answer,
        answer_type="mcq",
        question=row.question,
        choices=row.choices,
        meta={
            "version": row.version,
            "index": row.index,
            "category": row.category,
            "cycle_category": row.cycle,
        },
    )
    return Item(record, row.where, (row.picture,))
