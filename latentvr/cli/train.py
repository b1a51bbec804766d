"""`latentvr train`: train as a recipe says, or show what would happen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from latentvr.cli.arguments import Start


def run(recipe: Path, overrides: Sequence[str], start: Start) -> None:
    """Train, or print settings, their origin and the sizes, or launch processes that train."""
    import typer

    from latentvr.config.load import load
    from latentvr.config.rules import require

    resolved = load(recipe, overrides)
    require(resolved)
    if start.launched:
        from latentvr.cli import launch

        launch.run("train", recipe, overrides, start, resolved)
        return
    if start.dry_run:
        from latentvr.runs.dry_run import describe

        typer.echo(describe(resolved, start.total))
        return
    from latentvr.cli.logs import to_terminal
    from latentvr.runs.launching import has_begun
    from latentvr.runs.sft import train

    to_terminal()
    checkpoint = train(resolved, resume=start.resume or (start.resume_or_start and has_begun(resolved)))
    if os.environ.get("RANK", "0") == "0":  # of the processes of a launch by torchrun, one speaks
        typer.echo(f"checkpoint: {checkpoint}")
