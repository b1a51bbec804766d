"""`latentvr validate`: everything that is wrong with a recipe, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer


def run(recipe: Path, overrides: Sequence[str]) -> None:
    """Check a recipe; data that is not on this machine is noted and is no error.

    Args:
        recipe: recipe file.
        overrides: `key=value` texts.

    Raises:
        RecipeError: the recipe is wrong; every mistake has a line.
    """
    from latentvr.config.load import load
    from latentvr.config.rules import missing_files, require_all, sets_rl

    resolved = load(recipe, overrides)
    require_all(resolved)
    for problem in missing_files(resolved):
        typer.echo(f"note: {problem}")
    stages = ", ".join(resolved.recipe.stages)
    rewards = f", rewards {', '.join(resolved.recipe.rl.rewards)}" if sets_rl(resolved) else ""
    typer.echo(f"{recipe}: valid; reasoner {resolved.recipe.reasoner.name}, stages {stages}{rewards}")
