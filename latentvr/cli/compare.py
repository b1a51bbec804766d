"""`latentvr compare`: two evaluations of the same records, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from latentvr.runs.compare import Comparison, Pair
    from latentvr.runs.results import Results

# Two lines where one would not leave room for names of tasks in 80 columns.
HEADER = ("task", "N", "A %", "B %", "B - A", "95 % interval", "McNemar\np", "Holm p", "only\nA / B")


def run(path_a: Path, path_b: Path, *, split: str, condition: str | None, seed: int) -> None:
    """Compare two evaluations and print the table."""
    from rich.console import Console

    from latentvr.data.printable import printable
    from latentvr.data.readers.fields import shown
    from latentvr.runs.compare import compare

    comparison = compare(path_a, path_b, split, condition, seed)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(printable(_title("A", comparison.a)))
    console.print(printable(_title("B", comparison.b)))
    differing = [(f"decode.{key}", one, other) for key, one, other in comparison.decode]
    for key, one, other in (*differing, *comparison.others):
        console.print(f"settings differ: {printable(key)}: A {shown(one)}, B {shown(other)}")
    console.print(table(comparison), soft_wrap=False)
    console.print(printable(comparison.sentence))


def table(comparison: Comparison) -> Table:
    """Draw a comparison for a terminal; more than one task adds the total."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from latentvr.data.printable import printable

    out = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for i, name in enumerate(HEADER):
        out.add_column(name, justify="right" if i else "left", no_wrap=bool(i), overflow="fold")
    several = len(comparison.tasks) > 1
    for i, pair in enumerate(comparison.tasks, start=1):
        cells = _cells(pair, corrected=True)
        last = several and i == len(comparison.tasks)
        out.add_row(*(Text(printable(cell)) for cell in cells), end_section=last)
    if several:
        out.add_row(*_cells(comparison.total, corrected=False))
    return out


def _cells(pair: Pair, corrected: bool) -> tuple[str, ...]:
    from latentvr.evaluation.paired import p_cell, points

    low, high = (points(end) for end in pair.interval)
    return (
        pair.task,
        str(pair.records),
        f"{100 * pair.right_a / pair.records:.1f}",
        f"{100 * pair.right_b / pair.records:.1f}",
        points(pair.difference),
        f"{low} to {high}",
        p_cell(pair.p),
        p_cell(pair.adjusted) if corrected else "",
        f"{pair.only_a} / {pair.only_b}",
    )


def _title(name: str, results: Results) -> str:
    checkpoint = f", checkpoint {results.checkpoint}" if results.checkpoint else ""
    seed = "" if results.seed is None else f", seed {results.seed}"
    return f"{name}: {results.folder}, {results.condition}{seed}{checkpoint}"
