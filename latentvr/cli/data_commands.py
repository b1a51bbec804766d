"""`latentvr data`: its verbs and their options; the work is in `latentvr.cli.data`, imported when run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from latentvr.cli.arguments import Overrides, Recipe

app = typer.Typer(help="Check, look at, make and export data.", no_args_is_help=True)

Records = Annotated[Path, typer.Argument(metavar="PATH", help="Records file or folder.", show_default=False)]
ImageRoot = Annotated[Path | None, typer.Option(help="Folder of the images; that of PATH by default.")]


@app.command()
def check(path: Records, image_root: ImageRoot = None) -> None:
    """List every bad row of a data set."""
    from latentvr.cli import data as verb

    verb.check(path, image_root=image_root)


@app.command()
def preview(
    source: Annotated[
        Path, typer.Argument(metavar="RECIPE_OR_RECORDS", help="Recipe or records file.", show_default=False)
    ],
    html: Annotated[Path | None, typer.Option(help="Write a page with images to this file.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Samples to show.")] = 4,
) -> None:
    """Show samples as the model gets them."""
    from latentvr.cli import data as verb

    verb.preview(source, html=html, count=count)


@app.command()
def basis(
    recipe: Recipe,
    components: Annotated[int, typer.Option(min=1, help="Number of components.", show_default=False)],
    out: Annotated[Path, typer.Option(help="New safetensors file.", show_default=False)],
    overrides: Overrides = None,
    regions: Annotated[
        bool, typer.Option("--regions", help="Take the visual tokens of the regions alone.")
    ] = False,
) -> None:
    """Write a PCA basis of the visual embeddings of a recipe's training images."""
    from latentvr.cli import data as verb

    verb.basis(recipe, overrides or [], components=components, out=out, regions=regions)


@app.command()
def build(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="Such as jigsaw; a wrong one lists all.", show_default=False)
    ],
    rules: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Rules, such as train=500.", show_default=False),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The data set's own folder; none for toy.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 42,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes; the result is the same.")] = 1,
    splits: Annotated[str, typer.Option(help="Such as train,validation; all by default.")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="List the rules of TASK and leave.")] = False,
) -> None:
    """Make the records of a task from a data set's own folder."""
    from latentvr.cli import data_build as verb

    if explain:
        verb.explain(task)
    else:
        verb.run(task, rules or [], root=root, out=out, seed=seed, workers=workers, splits=splits)


@app.command()
def export(
    path: Records,
    to: Annotated[Path, typer.Option(help="New file that ends in .tsv.", show_default=False)],
    image_root: ImageRoot = None,
    tasks: Annotated[str, typer.Option(help="Tasks, with commas; all by default.")] = "",
    images: Annotated[
        Literal["inside", "beside"], typer.Option(help="In the table, or in the folder NAME_images.")
    ] = "inside",
) -> None:
    """Write records as a table for VLMEvalKit."""
    from latentvr.cli import data as verb

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    verb.export(path, to=to, image_root=image_root, tasks=names, images=images)
