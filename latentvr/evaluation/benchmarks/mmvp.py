"""MMVP: 300 questions in pairs; single and pair accuracy, with the answers as published and as corrected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latentvr.data.record import Record
from latentvr.data.sets import mmvp
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.predicted import Predicted, joined, part
from latentvr.evaluation.benchmarks.source import BenchmarkSource, Item
from latentvr.evaluation.measures import Measure, pairs, share
from latentvr.evaluation.metrics import Prediction

_MARK = re.compile(r"(?<!\S)\(([A-Za-z])\)")


class Mmvp(Benchmark):
    """MMVP (arXiv 2401.06209)."""

    name = "mmvp"
    title = "MMVP"
    hub = "MMVP/MMVP"
    licence = "MIT"
    patterns = (mmvp.FILE, f"{mmvp.FOLDER}/*")

    def load(self, path: Path) -> BenchmarkSource:
        """Read the questions; answers are those of the file, and `meta` has both published versions."""
        return BenchmarkSource([_item(row) for row in mmvp.rows(path)], path)

    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """Single and pair accuracy, with the original and with the corrected answers.

        All stand only where every question was answered. What papers call MMVP is mostly the single accuracy
        with the original answers.
        """
        made = joined(records, predictions)
        if len(made) < len(records):
            return part(records, made)
        couples = {pair.record.id: str(pair.record.meta["pair"]) for pair in made}
        out = []
        for version in ("original", "corrected"):
            judged = [_judged(pair, version) for pair in made]
            out.append(share(f"MMVP single ({version})", judged))
            both = pairs(f"MMVP pair ({version})", judged, couples)
            out += [both] if both else []
        return out


def _judged(pair: Predicted, version: str) -> Prediction:
    """The prediction as it is right or wrong by one version of the answers."""
    gold = pair.record.meta[f"gold_{version}"]
    return replace(pair.prediction, expected=gold, correct=pair.prediction.answer == gold)


def _item(row: mmvp.MmvpRow) -> Item:
    record = Record(
        id=f"mmvp/{row.index:03d}",
        task="MMVP",
        split="test",
        images=(row.image,),
        prompt=f"{row.question} {row.options}",
        answer=row.answer,
        answer_type="mcq",
        question=row.question,
        choices=row.choices,
        meta={
            "index": row.index,
            "pair": row.pair,
            "gold_original": row.original,
            "gold_corrected": row.corrected,
            "options_line": _MARK.sub(lambda mark: f"{mark[1].upper()}.", row.options),
        },
    )
    return Item(record, row.where, (row.image,))
