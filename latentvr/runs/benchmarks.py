"""Measure a checkpoint on published benchmarks: their prompts, their rules for answers, their figures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from latentvr.config.decode_rules import require_decode
from latentvr.config.schema import DataConfig, Recipe
from latentvr.config.suggest import close, sentence
from latentvr.data.record import Record, Source
from latentvr.errors import RecordError, UserError
from latentvr.evaluation.answer_rules import find_rule
from latentvr.evaluation.benchmarks.benchmark import Benchmark
from latentvr.evaluation.benchmarks.opening import opened
from latentvr.evaluation.benchmarks.registry import find
from latentvr.evaluation.benchmarks.styles import Style
from latentvr.evaluation.evaluate import length_for_text
from latentvr.evaluation.kept import Kept
from latentvr.models.latent_model import LatentModel
from latentvr.runs.destination import default_folder, require_free
from latentvr.runs.evaluate import (
    Evaluation,
    Told,
    answer_source,
    describe,
    kept_in,
    model_overrides,
    settings,
    write_results,
)
from latentvr.runs.inference import find_checkpoint, load_found


class Asked:
    """A benchmark's records as they are asked: in one style of prompt, and those that the settings choose.

    Attributes:
        records: with the style's prompts.
        whole: all records of the benchmark, as it has them.
    """

    records: Sequence[Record]

    def __init__(self, source: Source, style: Style, data: DataConfig) -> None:
        """Choose and rewrite records.

        Args:
            source: of the benchmark.
            style: of the prompts.
            data: its `tasks` and `limit` choose records.

        Raises:
            RecordError: a task has no records.
        """
        self._source = source
        self.whole = source.records
        there = list(dict.fromkeys(record.task for record in source.records))
        for task in data.tasks:
            if task not in there:
                raise RecordError(
                    f"expected tasks of {', '.join(there)}, got {task!a}, at data.tasks; "
                    f"fix: name some of these{sentence(close(task, there))}"
                )
        chosen = [record for record in source.records if not data.tasks or record.task in data.tasks]
        self._own = {record.id: record for record in chosen}
        self.records = tuple(replace(record, prompt=style.prompt(record)) for record in chosen[: data.limit])

    def images(self, record: Record) -> list[Image.Image]:
        """Give the record's images as RGB, in prompt order."""
        return self._source.images(self._own[record.id])

    def where(self, record: Record) -> str:
        """Name the place of one of the records."""
        return self._source.where(self._own[record.id])


@dataclass(frozen=True)
class Ready:
    """A benchmark that is about to be answered.

    Attributes:
        benchmark: that it is.
        source: its records in the chosen style.
        style: of the prompts, with the rules for answers.
        recipe: settings, the style's length of answers among them.
        kept: answers that are there, in the folder for results.
        facts: that the figures belong to.
    """

    benchmark: Benchmark
    source: Asked
    style: Style
    recipe: Recipe
    kept: Kept
    facts: dict[str, Any]


def evaluate_benchmarks(
    path: Path,
    overrides: Sequence[str],
    benchmarks: str,
    style: str = "native",
    out: Path | None = None,
    told: Told | None = None,
) -> list[Evaluation]:
    """Answer benchmarks with a checkpoint, and score them by their own rules.

    All are opened and checked before the model is loaded. Answers are kept as they are made: what was
    stopped goes on when it is asked for again.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: settings on top of the run's own, as in `evaluate`; the run's `data.tasks` and `data.limit`
            do not hold, those given here do.
        benchmarks: such as "blink=/data/BLINK,mmvp": names with a local folder or file, or alone for the hub.
        style: of the prompts.
        out: folder for results, one folder each; `eval` in the run folder by default.
        told: is called with name, number of answered and number of all records.

    Returns:
        One evaluation for each, results written.

    Raises:
        UserError: checkpoint, settings, a name, a style or the data are wrong, or a folder holds other
            results.
    """
    resolved = settings(path, overrides, None, None, own_data=False)
    found = find_checkpoint(path)
    changed = model_overrides(resolved, overrides)
    keys = {text.partition("=")[0].strip() for text in overrides}
    with ExitStack() as stack:
        ready = []
        for name, where in _named(benchmarks):
            folder = (out / f"{name}-{style}") if out else default_folder(path, f"{name}-{style}", None)
            checkpoint, asked = (path, found, changed), (resolved.recipe, keys)
            ready.append(_prepared(checkpoint, name, where, style, asked, folder))
            stack.callback(ready[-1].kept.close)
        model = load_found(found, path, resolved.recipe.train.device, changed)
        return [_measured(model, each, keys, told) for each in ready]


def _measured(model: LatentModel, ready: Ready, keys: set[str], told: Told | None) -> Evaluation:
    """Answer a benchmark, take its figures, and write the results."""
    recipe, facts = ready.recipe, ready.facts
    if ready.style.max_new_tokens is not None and "decode.max_new_tokens" not in keys:
        # The style's number is of text, whatever a method writes besides.
        room = length_for_text(model, recipe.decode, recipe.decode.max_new_tokens)
        recipe = replace(recipe, decode=replace(recipe.decode, max_new_tokens=room))
        facts = {**facts, "longest_answer": room}
    require_decode(recipe.decode, model.reasoner.config)
    made = answer_source(model, ready.source, recipe, ready.kept, facts, ready.style.rule_of, told)
    figures = tuple(ready.benchmark.measures(ready.source.whole, made.predictions))
    result = replace(made, measures=figures)
    write_results(result)
    return result


def _named(text: str) -> list[tuple[str, str | None]]:
    """Names with their places; a name occurs once."""
    out: dict[str, str | None] = {}
    for part in text.split(","):
        name, equals, where = part.strip().partition("=")
        if not name or name in out or (equals and not where):
            raise UserError(
                f"expected names such as blink or blink=DIR, each once, got {text!r}, at --bench; "
                "fix: put commas between them"
            )
        out[name] = where or None
    return list(out.items())


def _place(where: str | None) -> str | None:
    """One name of a folder, however it was written."""
    return str(Path(where).expanduser().resolve()) if where and Path(where).expanduser().exists() else where


def _prepared(
    checkpoint: tuple[Path, Path | None, dict[str, Any]],
    name: str,
    where: str | None,
    style_name: str,
    asked: tuple[Recipe, set[str]],
    folder: Path,
) -> Ready:
    """Open a benchmark and check its folder for results."""
    path, found, changed = checkpoint
    benchmark = find(name)
    style = benchmark.style(style_name)
    recipe, keys = asked
    if style.max_new_tokens is not None and "decode.max_new_tokens" not in keys:
        recipe = replace(recipe, decode=replace(recipe.decode, max_new_tokens=style.max_new_tokens))
    loaded = benchmark.load(opened(name, where))
    source = Asked(loaded, style, recipe.data)
    for record in source.records:
        # A record that cannot be judged is told now, and not when the model comes to it.
        find_rule(style.rule_of(record)).expected(record)
    about: dict[str, Any] = {
        "name": name,
        "style": style_name,
        "rule": style.rule,
        "source": _place(where) or benchmark.hub,
    }
    about["notes"] = dict(loaded.notes)
    facts = describe("eval", path, found, recipe, changed, source)
    facts |= {"split": folder.name, "benchmark": about}
    require_free(folder, facts)
    return Ready(benchmark, source, style, recipe, kept_in(folder, facts, recipe), facts)
