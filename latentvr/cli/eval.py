"""`latentvr eval`: accuracy with intervals, and on request the usage checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(
    checkpoint: Path,
    overrides: Sequence[str],
    *,
    data: Path | None,
    split: str | None,
    usage: bool,
    out: Path | None,
) -> None:
    """Measure a checkpoint and print the tables."""
    from rich.console import Console

    from latentvr.cli.logs import to_terminal
    from latentvr.evaluation.metrics import by_task, table
    from latentvr.runs.evaluate import evaluate

    to_terminal()
    result = evaluate(checkpoint, overrides, data, split, usage, out)
    console = Console()
    for name, predictions in result.predictions.items():
        if predictions is None:
            console.print(f"{name}: does not apply: the method or the records have no latents of this kind")
        else:
            console.print(table(by_task(predictions), title=name))
            inside = sum(p.latent_steps > 0 for p in predictions)
            if result.opens_spans:
                console.print(f"{inside} of {len(predictions)} answers have latent steps")
    if result.attention is not None:
        console.print(f"answer-to-latent attention: {result.attention:.3f}")
    console.print(f"results: {result.folder}")
    if usage:
        console.print(f"report: {result.folder / 'report.html'}")
