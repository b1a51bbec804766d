"""`latentvr eval`: accuracy with intervals, on data or on published benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentvr.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from latentvr.runs.evaluate import Evaluation


def run(
    checkpoint: Path,
    overrides: Sequence[str],
    *,
    data: Path | None,
    split: str | None,
    bench: str,
    style: str | None,
    out: Path | None,
) -> None:
    """Measure a checkpoint and print a table for each source of records."""
    from rich.console import Console

    from latentvr.cli.logs import to_terminal
    from latentvr.cli.progress import bars

    if bench and (data is not None or split is not None):
        raise UserError(
            "expected --bench, or --data and --split, got both, at latentvr eval; fix: leave one of them out"
        )
    if style is not None and not bench:
        raise UserError(
            "expected --style with --bench, got it alone, at latentvr eval; fix: records bring their prompts"
        )
    to_terminal()
    console = Console()
    with bars(console) as told:
        if bench:
            from latentvr.runs.benchmarks import evaluate_benchmarks

            results = evaluate_benchmarks(checkpoint, overrides, bench, style or "native", out, told)
        else:
            from latentvr.runs.evaluate import evaluate

            results = [evaluate(checkpoint, overrides, data, split, out, told)]
    for result in results:
        _tell(result, console)


def _tell(result: Evaluation, console: Console) -> None:
    from latentvr.evaluation.measures import table as measures_table
    from latentvr.evaluation.metrics import by_task, table

    name = result.folder.name if result.measures else ""
    console.print(table(by_task(result.predictions), name, totals=not result.measures))
    if result.measures:
        console.print(measures_table(result.measures, name))
    if result.opens_spans:
        inside = sum(made.latent_steps > 0 for made in result.predictions)
        console.print(f"{inside} of {len(result.predictions)} answers have latent steps")
    console.print(f"results: {result.folder}", soft_wrap=True)
