"""`latentvr demo`: from nothing to a trained, measured model on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(out: Path, overrides: Sequence[str], *, rebuild_backbone: bool) -> None:
    """Train and measure the arms of the demo, or make the tiny backbone anew."""
    from rich.console import Console
    from rich.table import Table

    from latentvr.cli.logs import to_terminal

    to_terminal()
    console = Console()
    if rebuild_backbone:
        from latentvr.runs.pretrain import rebuild

        rebuild(out, console.print, overrides)
        return
    from latentvr.runs.demo import accuracy_table, demo, plain_words, usage_tables

    results, report = demo(out, list(overrides), console.print)
    for table in (accuracy_table(results), *usage_tables(results)):
        shown = Table(*table.header, title=table.caption)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for line in plain_words(results):
        console.print(line)
    console.print(f"report: {report}")
