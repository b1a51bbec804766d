"""`latentvr rl`: reinforcement as a recipe says, or show what would happen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def run(recipe: Path, overrides: Sequence[str], *, dry_run: bool, resume: bool) -> None:
    """Train by rewards, or with `dry_run` print settings, their origin and the sizes."""
    import typer

    from latentvr.config.load import load
    from latentvr.config.rules import require_for_rl

    resolved = load(recipe, overrides)
    require_for_rl(resolved)
    if dry_run:
        from latentvr.runs.dry_run import describe_rl

        typer.echo(describe_rl(resolved))
        return
    from latentvr.cli.logs import to_terminal
    from latentvr.runs.rl import train

    to_terminal()
    checkpoint = train(resolved, resume=resume)
    if os.environ.get("RANK", "0") == "0":  # of the processes of a launch by torchrun, one speaks
        typer.echo(f"checkpoint: {checkpoint}")
