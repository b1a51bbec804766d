"""Measure a checkpoint: accuracy per task."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from latentvr.attention.visibility import preset
from latentvr.config.load import Resolved
from latentvr.config.rules import require_for_evaluation
from latentvr.config.schema import DataConfig, Recipe
from latentvr.data.builders.hashes import file_sha256
from latentvr.data.record import Record, Source
from latentvr.diagnostics.figures import BASELINE
from latentvr.errors import RecipeError
from latentvr.evaluation.evaluate import answer_all
from latentvr.evaluation.kept import FILE as PARTIAL
from latentvr.evaluation.kept import Kept
from latentvr.evaluation.measures import Measure
from latentvr.evaluation.metrics import Prediction, by_task
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.models.latent_model import LatentModel
from latentvr.runs.destination import default_folder, require_free
from latentvr.runs.folder import fingerprint, replace_text, settings_of, versions
from latentvr.runs.inference import find_checkpoint, load_found
from latentvr.runs.sources import open_split
from latentvr.trainers.checkpoint import MARKER

#: Called with the name of what is answered, the number of answered and the number of all records.
Told = Callable[[str, int, int], None]

#: Settings that an evaluation can change; a checkpoint fixes all others.
SECTIONS = ("data", "decode", "eval")
KEYS = (
    "train.device", "model.path", "model.revision", "model.dtype", "model.attention", "model.pack",
    "model.min_pixels", "model.max_pixels", "model.trust_remote_code",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        predictions: one for each record, in the order of the source.
        facts: checkpoint, data and settings that the figures belong to.
        folder: where the results are.
        opens_spans: whether the method opens latent spans in its answers.
        measures: of a benchmark: its own figures.
    """

    predictions: list[Prediction]
    facts: dict[str, Any]
    folder: Path
    opens_spans: bool
    measures: tuple[Measure, ...] = ()


def evaluate(
    path: Path,
    overrides: Sequence[str] = (),
    data: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    told: Told | None = None,
) -> Evaluation:
    """Answer the records of a split with a checkpoint and score the answers.

    Answers are kept as they are made: an evaluation that was stopped goes on when it is asked for again.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: settings on top of the run's own, out of `SECTIONS` and `KEYS`.
        data: records file in place of the recipe's.
        split: "validation" or "test"; that of the recipe by default.
        out: folder for results; `eval/SPLIT` in the run folder by default.
        told: is called with name, number of answered and number of all records.

    Returns:
        What was measured, and the folder that it was written to.

    Raises:
        UserError: checkpoint, settings or data are wrong, or the folder holds other results or cannot be
            written.
    """
    resolved, found, source = opened(path, overrides, data, split)
    recipe = resolved.recipe
    folder = out or default_folder(path, recipe.eval.split, data)
    changed = model_overrides(resolved, overrides)
    facts = describe("eval", path, found, recipe, changed, source)
    require_free(folder, facts)
    kept = kept_in(folder, facts, recipe)
    with closing(kept):
        model = load_found(found, path, recipe.train.device, changed)
        result = answer_source(model, source, recipe, kept, facts, told=told)
        write_results(result)
    return result


def answer_source(
    model: LatentModel,
    source: Source,
    recipe: Recipe,
    kept: Kept,
    facts: dict[str, Any],
    rule: Callable[[Record], str] | None = None,
    told: Told | None = None,
) -> Evaluation:
    """Answer all records as the recipe says, or those that are missing of an evaluation that was stopped.

    Args:
        model: loaded.
        source: records and images.
        recipe: sections `data`, `decode` and `eval` are used.
        kept: answers that are there, in the folder for results.
        facts: that the answers belong to.
        rule: gives the id of the rule that reads the answer to a record; "native" by default.
        told: is called with name, number of answered and number of all records.

    Returns:
        What was measured; nothing but the kept answers is written.
    """
    name = kept.file.parent.name
    made = answered(model, source, recipe, rule, kept, None if told is None else partial(told, name))
    return Evaluation(made, facts, kept.file.parent, model.reasoner.span() is not None)


def answered(
    model: LatentModel,
    source: Source,
    recipe: Recipe,
    rule: Callable[[Record], str] | None = None,
    kept: Kept | None = None,
    told: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Answer all records as the recipe says; the last arguments are those of `answer_all`."""
    prompts = Prompts(model, source, encoder_for(model, recipe.data.max_length))
    seen = preset(recipe.decode.visibility)
    return answer_all(model, prompts, seen, recipe.decode, recipe.eval.batch_size, rule, kept, told)


def kept_in(folder: Path, facts: dict[str, Any], recipe: Recipe) -> Kept:
    """Answers of an evaluation that was stopped, if there are any; those of another one are refused."""
    # One checkpoint has several names: with and without the working folder in front.
    place = Path(facts["checkpoint"])
    checkpoint = str(place.resolve()) if place.exists() else facts["checkpoint"]
    return Kept(folder, {**facts, "checkpoint": checkpoint, "batch_size": recipe.eval.batch_size})


def weights_mark(path: Path, found: Path | None) -> str | None:
    """What tells the weights at a path from later ones; None for a hub id, whose revision is a setting."""
    if found is not None:
        return file_sha256(found / MARKER) if (found / MARKER).is_file() else None
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest() if stats else None


def opened(
    path: Path, overrides: Sequence[str], data: Path | None, split: str | None
) -> tuple[Resolved, Path | None, Source]:
    """Settings, checkpoint and records, all that is known to be wrong without the model refused.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: `key=value` texts.
        data: records file in place of the recipe's.
        split: of the data.

    Returns:
        The settings, what `find_checkpoint` found, and one record or more.

    Raises:
        UserError: checkpoint, settings or data are wrong.
    """
    resolved = settings(path, overrides, data, split)
    recipe = resolved.recipe
    found = find_checkpoint(path)
    source = open_split(recipe.data, recipe.eval.split)
    if not source.records:
        raise RecipeError(
            f"expected records in the split {recipe.eval.split!r}, got none; fix: choose another split"
        )
    return resolved, found, source


def settings(
    path: Path, overrides: Sequence[str], data: Path | None, split: str | None, own_data: bool = True
) -> Resolved:
    """Settings of an evaluation: those of the run, the overrides, and `--data` and `--split`.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: `key=value` texts.
        data: records file; image root, tasks and limit of the run's own data do not hold for it.
        split: of the data.
        own_data: False where neither the run's data nor `data` are answered, but a benchmark.

    Returns:
        The settings.

    Raises:
        RecipeError: a setting is wrong, or fixed by the checkpoint.
    """
    for text in overrides:
        key = text.partition("=")[0].strip()
        if key.split(".")[0] not in SECTIONS and key not in KEYS:
            raise RecipeError(
                f"expected a setting of {', '.join(SECTIONS)}, or one of {', '.join(KEYS)}, got {key!r}, "
                "at the command line; fix: leave it out, the checkpoint fixes it"
            )
    resolved = settings_of(path, overrides)
    recipe = resolved.recipe
    if split is not None:
        recipe.eval.split = split  # type: ignore[assignment]
    if data is not None or not own_data:
        given = {text.partition("=")[0].strip().removeprefix("data.") for text in overrides}
        fresh: dict[str, Any] = {"source": "records", recipe.eval.split: None if data is None else str(data)}
        for item in dataclasses.fields(DataConfig):
            if item.name in ("image_root", "tasks", "limit") and item.name not in given:
                fresh[item.name] = getattr(DataConfig(), item.name)
        recipe.data = dataclasses.replace(recipe.data, **fresh)
    require_for_evaluation(resolved)
    return resolved


def model_overrides(resolved: Resolved, overrides: Sequence[str]) -> dict[str, Any]:
    """Fields of the section `model` that the command line sets."""
    names = [text.partition("=")[0].strip() for text in overrides]
    fields = [name.removeprefix("model.") for name in names if name.startswith("model.")]
    return {name: getattr(resolved.recipe.model, name) for name in fields}


def describe(
    verb: str, path: Path, found: Path | None, recipe: Recipe, changed: dict[str, Any], source: Source
) -> dict[str, Any]:
    """What figures belong to: verb, checkpoint and its weights, records, settings, and versions."""
    return {
        "verb": verb,
        "checkpoint": str(path),
        "weights": weights_mark(path, found),
        "model": changed,
        "split": recipe.eval.split,
        "data": {"records": len(source.records), "sha256": fingerprint(source)},
        "decode": dataclasses.asdict(recipe.decode),
        "versions": versions(),
    }


def write_results(result: Evaluation) -> None:
    """Write `predictions.jsonl` (a line per record) and `results.json` (facts, scores per task, measures)."""
    result.folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"condition": BASELINE, **prediction.to_json()}, ensure_ascii=False)
        for prediction in result.predictions
    ]
    text = "".join(f"{line}\n" for line in lines)
    replace_text(result.folder / "predictions.jsonl", text)
    scores = [dataclasses.asdict(score) for score in by_task(result.predictions)]
    facts = {**result.facts, "scores": scores}
    if result.measures:
        facts["measures"] = [measure.to_json() for measure in result.measures]
    replace_text(result.folder / "results.json", json.dumps(facts, indent=2) + "\n")
    (result.folder / PARTIAL).unlink(missing_ok=True)
