"""`latentvr data`: check, look at and export records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import typer

from latentvr.errors import RecordError

YAML = (".yaml", ".yml")


def check(path: Path, *, image_root: Path | None) -> None:
    """List every bad row of a data set.

    Args:
        path: records file or folder.
        image_root: folder of the images; that of `path` by default.

    Raises:
        RecordError: there are bad rows.
    """
    from latentvr.data.check import check as check_records

    report = check_records(path, image_root)
    for bad in report.bad:
        typer.echo(f"row {bad.row} {bad.id}: {bad.sentence}")
    tasks = ", ".join(f"{task} {count}" for task, count in report.tasks.items())
    typer.echo(f"{path}: {report.format}, {report.n_rows} rows, {report.n_images} images; {tasks}")
    if not report.ok:
        raise RecordError(
            f"expected good rows alone, got {len(report.bad)} problems, at {path}; "
            "fix: mend the rows listed above"
        )


def preview(source: Path, *, html: Path | None, count: int) -> None:
    """Show the first samples of a recipe or a records file as the model gets them."""
    from rich.console import Console

    from latentvr.cli.logs import to_terminal
    from latentvr.config.load import load
    from latentvr.data.preview import html as write_html
    from latentvr.data.preview import shown, terminal
    from latentvr.runs.preview import dataset_of

    to_terminal()
    if source.suffix in YAML:
        resolved = load(source)
    else:
        resolved = load(None, ["model.path=tiny-qwen2.5-vl", "model.dtype=float32", f"data.train={source}"])
    dataset = dataset_of(resolved.recipe)
    samples = shown(dataset, range(min(count, len(dataset))))
    tokenizer = dataset.encoder.processor.tokenizer
    Console().print(terminal(samples, tokenizer))
    if html is not None:
        typer.echo(f"page: {write_html(samples, tokenizer, html)}")


def basis(recipe: Path, overrides: Sequence[str], *, components: int, out: Path, regions: bool) -> None:
    """Write a PCA basis of the visual embeddings of a recipe's training images; print the share explained."""
    from latentvr.cli.logs import to_terminal
    from latentvr.config.load import load
    from latentvr.config.rules import require_for_data
    from latentvr.runs.basis import write_basis

    to_terminal()
    resolved = load(recipe, overrides)
    require_for_data(resolved)
    made = write_basis(resolved.recipe, components, out, regions)
    typer.echo(
        f"{components} of {made.width} components, {100 * made.share:.1f} % of the variance of "
        f"{made.tokens:,} visual tokens: {out}"
    )


def export(
    path: Path,
    *,
    to: Path,
    image_root: Path | None,
    tasks: Sequence[str],
    images: Literal["inside", "beside"],
) -> None:
    """Write records as a table for VLMEvalKit."""
    from latentvr.data.readers import open_source
    from latentvr.integrations.tsv import write_tsv

    source = open_source(path, image_root, tasks=tasks)
    typer.echo(f"{write_tsv(source, to, images)} records: {to}")
