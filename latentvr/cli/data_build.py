"""`latentvr data build`: records of a task from a data set's own folder, or generated scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from latentvr.errors import UserError


def run(
    task: str,
    rules: Sequence[str],
    *,
    root: Path | None,
    out: Path | None,
    seed: int,
    workers: int,
    splits: str,
) -> None:
    """Make records and images in a folder, with a progress bar, and say what was kept and what was not.

    Args:
        task: a builder, or `toy` for generated scenes.
        rules: parameters of the builder, `key=value`.
        root: the data set's folder.
        out: folder to write to.
        seed: of all draws.
        workers: processes.
        splits: names with commas; "" takes all.

    Raises:
        UserError: task, rules or folders are wrong, or a rule leaves too few records.
    """
    if task == "toy":
        _toy(rules, root, out)
        return
    from rich.console import Console

    from latentvr.cli.progress import bars
    from latentvr.data.builders.making import Recipe
    from latentvr.data.builders.registry import find, parse_rules
    from latentvr.data.builders.run import build

    builder = find(task)
    recipe = Recipe(
        builder, _given(root, "--root", "the data set's own folder"), parse_rules(builder, rules), seed
    )
    target = _given(out, "--out", "the folder to write to")
    wanted = [part.strip() for part in splits.split(",") if part.strip()]
    with bars(Console()) as told:
        manifest = build(recipe, target, wanted, workers, told)
    _tell(manifest, target)


def explain(task: str) -> None:
    """List the parameters of a builder: name, default, whether the paper states it, meaning."""
    from rich.console import Console
    from rich.table import Table

    from latentvr.data.builders.registry import find

    builder = find(task)
    table = Table("rule", "default", "from", "meaning", title=f"{task}: {builder.source}")
    for name, facts in builder.rules_type().written().items():
        default = "all" if facts["default"] is None else str(facts["default"])
        table.add_row(name, default or '""', facts["provenance"], facts["text"])
    Console().print(table)
    typer.echo(f"licence: {builder.licence}; splits: {', '.join(builder.splits)}")


def _tell(manifest: Mapping[str, Any], out: Path) -> None:
    from latentvr.data.builders.run import by_rule

    for split, counts in manifest["splits"].items():
        labels = (
            by_rule(counts["labels"]) if len(counts["labels"]) <= 12 else f"{len(counts['labels'])} answers"
        )
        typer.echo(
            f"{split}: {counts['records']} records ({labels}) from {counts['tried']} tried of "
            f"{counts['candidates']}; rejected: {by_rule(counts['rejected']) or 'none'}"
        )
    typer.echo(f"records, manifest.json and sheet.png: {out}")


def _given(path: Path | None, option: str, what: str) -> Path:
    if path is None:
        raise UserError(f"expected {what}, got none, at latentvr data build; fix: add {option} DIR")
    return path


def _toy(rules: Sequence[str], root: Path | None, out: Path | None) -> None:
    """Generated scenes, every split a folder."""
    if root is not None or rules:
        raise UserError(
            "expected --out alone, got --root or rules, at latentvr data build toy: scenes are generated; "
            "fix: latentvr data build toy --out DIR"
        )
    from latentvr.config.schema import ToyConfig
    from latentvr.data import toy

    settings, folder = ToyConfig(), _given(out, "--out", "the folder to write to")
    for split in toy.SPLITS:
        made = toy.Toy(toy.TASKS, split, getattr(settings, split), settings.seed, settings.size)
        typer.echo(f"{len(made.records)} records: {toy.write(made, folder / split)}")
