"""`latentvr generate`: one answer about one or more images."""

from __future__ import annotations

from pathlib import Path


def run(checkpoint: Path, question: str, *, images: list[Path], show_latents: bool) -> None:
    """Answer a question and print the answer."""
    import typer

    from latentvr.cli.logs import to_terminal
    from latentvr.data.images import open_image
    from latentvr.runs.inference import load

    to_terminal()
    opened = [open_image(path.name, path.resolve().parent, f"--image {path}") for path in images]
    answer = load(checkpoint).generate(question, opened)
    typer.echo(answer.text.strip())
    if show_latents:
        norms = answer.latents.norm(dim=-1).tolist()
        typer.echo(f"{len(norms)} latents, norms: {' '.join(f'{norm:.2f}' for norm in norms)}")
