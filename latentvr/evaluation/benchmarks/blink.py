"""BLINK, on its val split: 14 sub-tasks, and the two selections that papers report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentvr.data.record import Record
from latentvr.data.sets import blink
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.predicted import complete, joined, part, pooled, shares
from latentvr.evaluation.benchmarks.source import BenchmarkSource, Item, name_of
from latentvr.evaluation.measures import Measure, mean_of, share
from latentvr.evaluation.metrics import Prediction

#: All sub-tasks; a folder may have some of them alone, and then says nothing of BLINK.
TASKS = (
    "Art_Style", "Counting", "Forensic_Detection", "Functional_Correspondence", "IQ_Test", "Jigsaw",
    "Multi-view_Reasoning", "Object_Localization", "Relative_Depth", "Relative_Reflectance",
    "Semantic_Correspondence", "Spatial_Relation", "Visual_Correspondence", "Visual_Similarity",
)  # fmt: skip
#: Sub-tasks that are reported together; whether pooled or as a mean papers rarely say, so both are given.
SELECTIONS = {
    "BLINK-5": ("Counting", "IQ_Test", "Jigsaw", "Relative_Reflectance", "Spatial_Relation"),
    "BLINK-3": ("Relative_Depth", "Multi-view_Reasoning", "Spatial_Relation"),
}


class Blink(Benchmark):
    """BLINK (arXiv 2404.12390)."""

    name = "blink"
    title = "BLINK"
    hub = "BLINK-Benchmark/BLINK"
    licence = "Apache-2.0"
    patterns = ("*/val-*.parquet",)

    def load(self, path: Path) -> BenchmarkSource:
        """Read the val split; a folder of test alone is refused, for its answers are not published."""
        return BenchmarkSource([_item(row) for row in blink.rows(path)], path)

    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """Each sub-task; all of them and the selections, pooled (micro) and as mean of sub-tasks (macro).

        Each stands only where all questions of its sub-tasks were answered.
        """
        pairs = joined(records, predictions)
        groups = complete(records, pairs)
        out = shares(groups)
        for name, tasks in {"BLINK": TASKS, **SELECTIONS}.items():
            together = pooled(groups, tasks)
            if together is not None:
                parts = shares({task: groups[task] for task in tasks})
                out += [share(f"{name} (micro)", together), mean_of(f"{name} (macro)", parts)]
        return out + part(records, pairs)


def _item(row: blink.BlinkRow) -> Item:
    record = Record(
        id=row.idx,
        task=row.sub_task,
        split="validation",
        images=tuple(name_of(picture) for picture in row.pictures),
        prompt=row.prompt,
        answer=row.answer,
        answer_type="mcq",
        question=row.question,
        choices=row.choices,
    )
    return Item(record, row.where, row.pictures)
