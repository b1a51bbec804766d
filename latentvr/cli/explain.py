"""`latentvr explain`: the documentation of a key, a section or the whole recipe."""

from __future__ import annotations

import typer


def run(key: str, *, markdown: bool) -> None:
    """Print what `key` means, or the reference of all keys as Markdown.

    Args:
        key: full key or section; empty for the list of sections.
        markdown: print the reference page instead.

    Raises:
        RecipeError: there is no such key.
    """
    from latentvr.config.explain import docs_reference, explain

    if markdown:
        typer.echo(docs_reference(), nl=False)
    else:
        typer.echo(explain(key).to_text())
