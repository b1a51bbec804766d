"""VSP in Mirage's form: 400 frozen lakes of sides 3 to 6, to be crossed by a written plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentvr.data.builders.tasks.vsp import is_map, shortest_plan
from latentvr.data.readers.fields import MARK, wrong
from latentvr.data.record import Record
from latentvr.data.sets import vsp
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.predicted import complete, joined, part, whole
from latentvr.evaluation.benchmarks.source import BenchmarkSource, Item, below
from latentvr.evaluation.measures import Measure, share
from latentvr.evaluation.metrics import Prediction


class Vsp(Benchmark):
    """Visual spatial planning (arXiv 2407.01863), with the test set of Mirage (arXiv 2506.17218)."""

    name = "vsp"
    title = "VSP"
    hub = ""
    licence = "none stated"
    patterns = ()
    by_hand = "download data/vsp_spatial_planning of github.com/UMass-Embodied-AGI/Mirage"

    def load(self, path: Path) -> BenchmarkSource:
        """Read `test_direct.jsonl`; plans are judged by walking them, and the answer is a shortest one."""
        return BenchmarkSource([_item(row, path) for row in vsp.rows(path, "test")], path)

    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """All maps, then those of each level; each only where it is complete."""
        made = joined(records, predictions)
        levels = complete(records, made, lambda record: str(record.meta["level"]))
        out = whole(self.title, records, made)
        out += [share(f"VSP level {level}", group) for level, group in sorted(levels.items())]
        return out + part(records, made)


def _item(row: vsp.VspRow, path: Path) -> Item:
    plan = shortest_plan(row.map_desc) if is_map(row.map_desc) else None
    if plan is None or row.level is None:
        expected = "a map_desc with one start, one goal and a way between them"
        raise wrong(expected, "another", row.where, "name the test file of Mirage's form")
    image = below(row.image, path)
    prompt = row.text_input
    record = Record(
        id=f"vsp/{row.id}",
        task="VSP",
        split="test",
        images=(image,),
        prompt=prompt if prompt.count(MARK) in (0, 1) else prompt.replace(MARK, "").strip(),
        answer=plan,
        answer_type="path",
        question=prompt.replace(MARK, "").strip(),
        meta={"level": row.level, "map_desc": row.map_desc},
    )
    return Item(record, row.where, (image,))
