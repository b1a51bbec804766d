"""Measures that the papers' columns name are those that the benchmarks give."""

from __future__ import annotations

import pytest

from latentvr.data.record import Record
from latentvr.evaluation.benchmarks.registry import find
from latentvr.evaluation.metrics import Prediction
from latentvr.evaluation.papers import Column, papers

COLUMNS = {
    (column.benchmarks[0], column.measure): column
    for table in papers().tables.values()
    for column in table.columns
    if column.measure
}
# Tasks of the records that are enough for the benchmark to give all its measures.
TASKS = {
    "blink": ["Counting", "IQ_Test", "Jigsaw", "Relative_Reflectance", "Spatial_Relation", "Relative_Depth",
              "Multi-view_Reasoning"],
    "vstar": ["direct_attributes", "relative_position"],
    "mmvp": ["MMVP"],
    "robospatial": ["configuration", "compatibility"],
}  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS.values(), ids=[name for _, name in COLUMNS])
def test_the_benchmark_gives_the_measure(column: Column) -> None:
    (name,) = column.benchmarks
    meta = {"gold_original": "A", "gold_corrected": "B", "pair": 1}
    records = [
        Record(str(i), task, "test", ("a.png",), "?", "A", "mcq", choices=("x", "y"), meta=meta)
        for i, task in enumerate(TASKS[name])
    ]
    predictions = [Prediction(str(i), task, "A", "A", "A", True, False) for i, task in enumerate(TASKS[name])]
    assert column.measure in [made.name for made in find(name).measures(records, predictions)]
