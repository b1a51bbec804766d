"""`latentvr eval`: accuracy with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(
    checkpoint: Path,
    overrides: Sequence[str],
    *,
    data: Path | None,
    split: str | None,
    out: Path | None,
) -> None:
    """Measure a checkpoint and print the table."""
    from rich.console import Console

    from latentvr.cli.logs import to_terminal
    from latentvr.evaluation.metrics import by_task, table
    from latentvr.runs.evaluate import evaluate

    to_terminal()
    result = evaluate(checkpoint, overrides, data, split, out)
    console = Console()
    console.print(table(by_task(result.predictions)))
    if result.opens_spans:
        inside = sum(made.latent_steps > 0 for made in result.predictions)
        console.print(f"{inside} of {len(result.predictions)} answers have latent steps")
    console.print(f"results: {result.folder}")
