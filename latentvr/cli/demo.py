"""`latentvr demo`: from nothing to a trained, measured model on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(out: Path, overrides: Sequence[str], *, rebuild_backbone: bool) -> None:
    """Train and measure the arms of the demo, or make the tiny backbone anew."""
    from rich.console import Console
    from rich.table import Table

    from latentvr.cli import diagnose
    from latentvr.cli.logs import to_terminal

    to_terminal()
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if rebuild_backbone:
        from latentvr.runs.pretrain import rebuild

        rebuild(out, console.print, overrides)
        return
    from latentvr.runs.demo import accuracy_table, demo, plain_words

    results, report = demo(out, list(overrides), console.print)
    table = accuracy_table(results)
    shown = Table(*table.header, title=table.caption)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown, soft_wrap=False)
    for result in results:
        if result.found:
            diagnose.show(result.found, console, f"Interventions: {result.arm.name}")
    for line in plain_words(results):
        console.print(line)
    console.print(f"report: {report}")
