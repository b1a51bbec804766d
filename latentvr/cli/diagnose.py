"""`latentvr diagnose`: whether the answers use the latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from latentvr.runs.diagnosis import Found

HEADER = (
    "condition", "right\n%", "k/N", "differs\nby", "95 %\ninterval", "adj.\np", "prob.\n%", "flips\n%",
    "no\nans.",
)  # fmt: skip


def run(
    checkpoint: Path,
    overrides: Sequence[str],
    *,
    data: Path | None,
    split: str | None,
    interventions: str,
    seeds: int,
    top_k: int,
    without: str,
    out: Path | None,
) -> None:
    """Run interventions on a checkpoint's latents; print the table and the verdict."""
    from rich.console import Console

    from latentvr.cli.logs import to_terminal
    from latentvr.diagnostics.verdict import RULE
    from latentvr.runs.diagnose import asked_for, diagnose_checkpoint

    to_terminal()
    asked = asked_for(interventions, seeds, top_k, without)
    found, folder = diagnose_checkpoint(checkpoint, overrides, data, split, asked, out)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    show(found, console)
    console.print(f"verdict: {found.verdict.sentence}")
    console.print(f"rule: {RULE}")
    console.print(f"results: {folder}")
    console.print(f"report: {folder / 'report.html'}")


def show(found: Found, console: Console, title: str | None = None) -> None:
    """Print the conditions: a table, and a line for each that does not apply."""
    console.print(table(found, title), soft_wrap=False)
    for condition in found.diagnosis.conditions:
        if not condition.runs:
            console.print(f"{condition.name} does not apply: {condition.reason}")
    records, having = len(found.diagnosis.written), found.diagnosis.with_latents
    if found.diagnosis.has_latents and having < records:
        console.print(
            f"latents in {having} of {records} records; replacing them leaves the others as they are"
        )


def table(found: Found, title: str | None = None) -> Table:
    """Draw the conditions for a terminal; 80 columns hold figures of 10,000 records."""
    from rich import box
    from rich.table import Table

    from latentvr.diagnostics.figures import BASELINE
    from latentvr.diagnostics.interventions import IDENTITY
    from latentvr.evaluation.paired import p_cell, points

    # No padding: a column more than fits would cut figures short.
    out = Table(title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for i, name in enumerate(HEADER):
        out.add_column(name, justify="right" if i else "left", no_wrap=bool(i), overflow="fold")
    for name, made in found.figures.items():
        low, high = (points(end) for end in made.interval)
        against = [
            points(made.difference),
            f"{low} {high}",
            "" if name == IDENTITY else p_cell(made.adjusted),
        ]
        out.add_row(
            name,
            f"{100 * made.accuracy:.1f}",
            f"{made.correct}/{made.total}",
            *(["", "", ""] if name == BASELINE else against),
            f"{100 * made.probability:.1f}",
            f"{100 * made.flipped:.1f}",
            str(made.failed),
        )
    return out
