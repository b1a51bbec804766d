"""RoboSpatial-Home: two splits of questions with yes or no, and one that asks for points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentvr.data.record import Record
from latentvr.data.sets import robospatial
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.predicted import complete, joined, part, pooled, shares
from latentvr.evaluation.benchmarks.source import BenchmarkSource, Item, name_of
from latentvr.evaluation.measures import Measure, share
from latentvr.evaluation.metrics import Prediction

POOLED = ("configuration", "compatibility")
# The instructions at the end of the benchmark's questions, which other styles put their own in place of.
_INSTRUCTIONS = (
    "Answer yes or no.",
    "Your answer should be formatted as a list of tuples, i.e. [(x1, y1), ...], where each tuple contains "
    "the x and y coordinates of a point satisfying the conditions above. The coordinates should be between 0 "
    "and 1, indicating the normalized pixel locations of the points.",
)


class Robospatial(Benchmark):
    """RoboSpatial-Home (arXiv 2411.16537)."""

    name = "robospatial"
    title = "RoboSpatial-Home"
    hub = "chanhee-luke/RoboSpatial-Home"
    licence = "Apache-2.0"
    patterns = ("data/*.parquet",)

    def load(self, path: Path) -> BenchmarkSource:
        """Read the splits that are there."""
        return BenchmarkSource([_item(row) for row in robospatial.rows(path)], path)

    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """Each split, and configuration and compatibility pooled (228 questions), where they are complete."""
        made = joined(records, predictions)
        groups = complete(records, made)
        out = shares(groups)
        together = pooled(groups, POOLED)
        if together is not None:
            out.append(share(" + ".join(POOLED), together))
        return out + part(records, made)


def _item(row: robospatial.RobospatialRow) -> Item:
    question = row.question
    for instruction in _INSTRUCTIONS:
        question = question.replace(instruction, "").strip()
    record = Record(
        id=f"robospatial/{row.id}",
        task=row.split,
        split="test",
        images=(name_of(row.picture),),
        prompt=row.question,
        answer=row.answer,
        answer_type="text" if row.split == "context" else "yesno",
        question=question,
        meta={"category": row.category},
    )
    return Item(record, row.where, (row.picture,))
