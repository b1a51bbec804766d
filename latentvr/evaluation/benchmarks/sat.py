"""SAT Val: the questions on space that SAT-32k keeps for validation, answered by the text of an option."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentvr.data.readers.fields import MARK, wrong
from latentvr.data.record import Record
from latentvr.data.sets import sat
from latentvr.data.sets.lazy_table import LazyTable
from latentvr.data.sets.stored import Stored
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.predicted import complete, joined, part, whole
from latentvr.evaluation.benchmarks.source import BenchmarkSource, Item, Picture, below, name_of
from latentvr.evaluation.measures import Measure, share
from latentvr.evaluation.metrics import Prediction


class Sat(Benchmark):
    """SAT (arXiv 2412.07755), as ViGoRL (arXiv 2505.23678) divides it."""

    name = "sat"
    title = "SAT"
    hub = "gsarch/vigorl_datasets"
    licence = "MIT"
    patterns = ()
    by_hand = "download gsarch/vigorl_datasets and unpack its spatial_reasoning.tar"

    def load(self, path: Path) -> BenchmarkSource:
        """Read `vigorl_sat2_val_RL.jsonl` or `SAT_val.parquet` in a folder, or any file of these forms.

        JSON lines are asked as they are written; rows of parquet by the wording of SAT's own paper.
        """
        file = sat.find(path, "validation")
        rows = list(sat.rows(file, None if path.is_file() else path, pictures=False))
        if file.suffix == ".parquet":
            cells = _cells(LazyTable(file, file.name))
            return BenchmarkSource([_item(row, cells[row.number - 1]) for row in rows], path)
        items = []
        for row in rows:
            paths = tuple(below(image, path) for image in row.images if isinstance(image, Path))
            items.append(_item(row, paths))
        return BenchmarkSource(items, path)

    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """All questions, then each kind where the file tells kinds; each only where it is complete."""
        made = joined(records, predictions)
        kinds = complete(records, made, lambda record: str(record.meta["kind"]))
        out = whole(self.title, records, made)
        out += [share(f"SAT {kind}", group) for kind, group in sorted(kinds.items()) if kind]
        return out + part(records, made)


def _cells(table: LazyTable) -> list[tuple[Stored, ...]]:
    """Where the pictures of each row lie."""
    column = next(name for name in ("image_bytes", "images") if name in table.columns)
    counts = table.counts(column)
    return [tuple(Stored(table, row, column, i) for i in range(count)) for row, count in enumerate(counts)]


def _item(row: sat.SatRow, pictures: tuple[Picture, ...]) -> Item:
    prompt = row.problem
    if not row.listed:
        raise wrong("a list of texts as answers", "something else", row.where, "download the file again")
    if not prompt:
        prompt = f"{row.question} Choose between the following options: {', or '.join(row.choices)}."
    if prompt.count(MARK) not in (0, len(pictures)):
        # Some rows have another number of marks than of images; without marks all images come first.
        prompt = prompt.replace(MARK, "").strip()
    record = Record(
        id=row.id,
        task="SAT",
        split="validation",
        images=tuple(name_of(picture) for picture in pictures),
        prompt=prompt,
        answer=row.answer,
        answer_type="text",
        question=row.question,
        choices=row.choices,
        meta={"kind": row.kind},
    )
    return Item(record, row.where, pictures)
