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
    from latentvr.config.rules import missing_files, require

    resolved = load(recipe, overrides)
    require(resolved)
    for problem in missing_files(resolved):
        typer.echo(f"note: {problem}")
    stages = ", ".join(resolved.recipe.stages)
    typer.echo(f"{recipe}: valid; reasoner {resolved.recipe.reasoner.name}, stages {stages}")
