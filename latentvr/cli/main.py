"""`latentvr`: the verbs and their options. Each verb's work is in the file of its name, imported when run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from latentvr import __version__
from latentvr.cli.arguments import (
    DryRun,
    Launcher,
    Nodes,
    Overrides,
    Processes,
    Recipe,
    Resume,
    ResumeOrStart,
    Start,
)
from latentvr.cli.data_commands import app as data_app
from latentvr.cli.logs import give_way
from latentvr.errors import LatentVRError, UserError

app = typer.Typer(
    name="latentvr",
    help="Latent visual reasoning for multimodal models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="Run folder, checkpoint, model or hub id.", show_default=False)
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings on top, such as data.limit=200.", show_default=False),
]
Data = Annotated[Path | None, typer.Option(help="Records file instead of the recipe's data.")]
Split = Annotated[Literal["validation", "test"] | None, typer.Option(help="Split; the recipe's by default.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the results.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"latentvr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None: ...


@app.command()
def train(
    recipe: Recipe,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    resume_or_start: ResumeOrStart = False,
    launcher: Launcher = None,
    processes: Processes = None,
    nodes: Nodes = None,
) -> None:
    """Train a model as a recipe says."""
    from latentvr.cli import train as verb

    verb.run(recipe, overrides or [], Start(dry_run, resume, resume_or_start, launcher, processes, nodes))


@app.command()
def rl(
    recipe: Recipe,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    resume_or_start: ResumeOrStart = False,
    launcher: Launcher = None,
    processes: Processes = None,
    nodes: Nodes = None,
) -> None:
    """Train a model by rewards of its own answers, as a recipe says."""
    from latentvr.cli import rl as verb

    verb.run(recipe, overrides or [], Start(dry_run, resume, resume_or_start, launcher, processes, nodes))


@app.command(name="eval")
def evaluate(
    checkpoint: Checkpoint,
    overrides: Changes = None,
    data: Data = None,
    split: Split = None,
    bench: Annotated[str, typer.Option(help="Benchmarks, such as blink=/data/BLINK,mmvp.")] = "",
    style: Annotated[
        str | None, typer.Option(help="Prompts of benchmarks: native by default; docs/benchmarks.md.")
    ] = None,
    usage: Annotated[bool, typer.Option("--usage", hidden=True)] = False,
    out: Out = None,
) -> None:
    """Measure a checkpoint's answers on data or on benchmarks."""
    from latentvr.cli import eval as verb

    if usage:
        raise UserError(
            "expected latentvr diagnose, which asks how much answers use the latents, got --usage, at "
            f"latentvr eval; fix: latentvr diagnose {checkpoint}"
        )
    verb.run(checkpoint, overrides or [], data=data, split=split, bench=bench, style=style, out=out)


@app.command()
def diagnose(
    checkpoint: Checkpoint,
    overrides: Changes = None,
    data: Data = None,
    split: Split = None,
    interventions: Annotated[
        str,
        typer.Option(help="Such as drop,swap; all by default. docs/diagnose.md or a wrong name list them."),
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of interventions that draw at random.")] = 3,
    top_k: Annotated[int, typer.Option(min=1, help="Slots that top_k takes.")] = 1,
    without: Annotated[str, typer.Option(help="Leave out: geometry, probes, or geometry,probes.")] = "",
    out: Out = None,
) -> None:
    """Find out whether a model's answers use its latents."""
    from latentvr.cli import diagnose as verb

    verb.run(
        checkpoint,
        overrides or [],
        data=data,
        split=split,
        interventions=interventions,
        seeds=seeds,
        top_k=top_k,
        without=without,
        out=out,
    )


@app.command()
def compare(
    run_a: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="Run folder, or folder with results.", show_default=False)
    ],
    run_b: Annotated[
        Path, typer.Argument(metavar="RUN_B", help="The one to compare with it.", show_default=False)
    ],
    split: Annotated[str, typer.Option(help="In run folders: eval/SPLIT or diagnose/SPLIT.")] = "test",
    condition: Annotated[
        str | None, typer.Option(help="Condition of both, such as drop; the model as it is by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Run of a condition that has several.")] = 0,
) -> None:
    """Compare two evaluations of the same records, task by task."""
    from latentvr.cli import compare as verb

    verb.run(run_a, run_b, split=split, condition=condition, seed=seed)


@app.command(name="report-table")
def report_table(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Of a paper; none lists all.")] = "",
    rows: Annotated[
        list[str] | None,
        typer.Argument(metavar="ROW=FOLDER", help="Our results for a row.", show_default=False),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the table for a page.")] = False,
) -> None:
    """Lay our figures beside those of a paper's table."""
    from latentvr.cli import report_table as verb

    verb.run(table, rows or [], markdown=markdown)


@app.command()
def generate(
    checkpoint: Checkpoint,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.", show_default=False)],
    image: Annotated[list[Path], typer.Option(help="Image file; repeat for more.", show_default=False)],
    show_latents: Annotated[
        bool, typer.Option("--show-latents", help="Show figures of the latents.")
    ] = False,
) -> None:
    """Answer a question about images."""
    from latentvr.cli import generate as verb

    verb.run(checkpoint, question, images=image, show_latents=show_latents)


@app.command()
def demo(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for the demo's run.")] = Path("runs/demo"),
    rebuild_backbone: Annotated[
        bool, typer.Option("--rebuild-backbone", help="Pretrain the tiny backbone anew.")
    ] = False,
) -> None:
    """Train and measure a tiny model on a CPU, from start to report."""
    from latentvr.cli import demo as verb

    verb.run(out, overrides or [], rebuild_backbone=rebuild_backbone)


@app.command()
def validate(recipe: Recipe, overrides: Overrides = None) -> None:
    """Check a recipe and list everything that is wrong with it."""
    from latentvr.cli import validate as verb

    verb.run(recipe, overrides or [])


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key or section; none lists the sections.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the reference of all keys.")] = False,
) -> None:
    """Say what a key of the recipe means, its type and its default."""
    from latentvr.cli import explain as verb

    verb.run(key, markdown=markdown)


@app.command()
def env() -> None:
    """Show the versions and the hardware; exit with 1 where a version is not supported."""
    from latentvr.cli import env as verb

    verb.run()


def guarded(call: Callable[[], object]) -> int:
    """Run `call` and return the exit code; the library's own errors become sentences on stderr.

    Args:
        call: what to run, without arguments.

    Returns:
        0 done, 1 failure, 2 the user's input, 3 out of memory, 130 and 143 on signals.

    Raises:
        RuntimeError: raised by `call` for any other reason; a bug keeps its traceback.
    """
    try:
        call()
    except LatentVRError as error:
        give_way()
        typer.echo("\n".join(f"error: {line}" for line in str(error).splitlines()), err=True)
        return error.exit_code
    except KeyboardInterrupt:
        typer.echo("error: stopped by the user", err=True)
        return 130
    except RuntimeError as error:
        # The class is known by its name: importing torch to catch it would slow every verb down.
        if type(error).__name__ != "OutOfMemoryError" and "can't allocate memory" not in str(error):
            raise
        typer.echo(
            _OUT_OF_MEMORY.format(error=str(error).splitlines()[0] if str(error) else "no detail"), err=True
        )
        return 3
    return 0


_OUT_OF_MEMORY = (
    "error: the device ran out of memory ({error}); fix: in training lower train.batch_size and raise "
    "train.gradient_accumulation by the same factor, or set model.gradient_checkpointing=true; in evaluation "
    "lower eval.batch_size; in both, bound the images with model.max_pixels (262144 is 512 x 512)"
)


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(guarded(app))
