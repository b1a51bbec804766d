"""Measure a checkpoint: accuracy per task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.attention.visibility import preset
from latentvr.config.load import Resolved
from latentvr.config.rules import require_for_evaluation
from latentvr.config.schema import DataConfig, Recipe
from latentvr.data.record import Source
from latentvr.diagnostics.figures import BASELINE
from latentvr.errors import RecipeError
from latentvr.evaluation.evaluate import answer_all
from latentvr.evaluation.metrics import Prediction, by_task
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.models.latent_model import LatentModel
from latentvr.runs.destination import default_folder, require_free
from latentvr.runs.folder import fingerprint, replace_text, settings_of, versions
from latentvr.runs.inference import find_checkpoint, load_found
from latentvr.runs.sources import open_split

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
    """

    predictions: list[Prediction]
    facts: dict[str, Any]
    folder: Path
    opens_spans: bool


def evaluate(
    path: Path,
    overrides: Sequence[str] = (),
    data: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
) -> Evaluation:
    """Answer the records of a split with a checkpoint and score the answers.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: settings on top of the run's own, out of `SECTIONS` and `KEYS`.
        data: records file in place of the recipe's.
        split: "validation" or "test"; that of the recipe by default.
        out: folder for results; `eval/SPLIT` in the run folder by default.

    Returns:
        What was measured, and the folder that it was written to.

    Raises:
        UserError: checkpoint, settings or data are wrong, or the folder holds other results or cannot be
            written.
    """
    resolved, found, source = opened(path, overrides, data, split)
    recipe = resolved.recipe
    folder = out or default_folder(path, recipe.eval.split, data)
    facts = describe("eval", path, recipe, source)
    require_free(folder, facts)
    model = load_found(found, path, recipe.train.device, model_overrides(resolved, overrides))
    predictions = measure(model, source, recipe)
    result = Evaluation(predictions, facts, folder, model.reasoner.span() is not None)
    write_results(result)
    return result


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


def settings(path: Path, overrides: Sequence[str], data: Path | None, split: str | None) -> Resolved:
    """Settings of an evaluation: those of the run, the overrides, and `--data` and `--split`.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: `key=value` texts.
        data: records file; image root, tasks and limit of the run's own data do not hold for it.
        split: of the data.

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
    if data is not None:
        given = {text.partition("=")[0].strip().removeprefix("data.") for text in overrides}
        fresh = {"source": "records", recipe.eval.split: str(data)}
        for item in dataclasses.fields(DataConfig):
            if item.name in ("image_root", "tasks", "limit") and item.name not in given:
                fresh[item.name] = getattr(DataConfig(), item.name)
        recipe.data = dataclasses.replace(recipe.data, **fresh)  # type: ignore[arg-type]
    require_for_evaluation(resolved)
    return resolved


def model_overrides(resolved: Resolved, overrides: Sequence[str]) -> dict[str, Any]:
    """Fields of the section `model` that the command line sets."""
    names = [text.partition("=")[0].strip() for text in overrides]
    fields = [name.removeprefix("model.") for name in names if name.startswith("model.")]
    return {name: getattr(resolved.recipe.model, name) for name in fields}


def describe(verb: str, path: Path, recipe: Recipe, source: Source) -> dict[str, Any]:
    """What figures belong to: verb, checkpoint, records, how answers are written, and versions."""
    return {
        "verb": verb,
        "checkpoint": str(path),
        "split": recipe.eval.split,
        "data": {"records": len(source.records), "sha256": fingerprint(source)},
        "decode": dataclasses.asdict(recipe.decode),
        "versions": versions(),
    }


def measure(model: LatentModel, source: Source, recipe: Recipe) -> list[Prediction]:
    """Answer all records as the recipe says."""
    prompts = Prompts(model, source, encoder_for(model, recipe.data.max_length))
    seen = preset(recipe.decode.visibility)
    return answer_all(model, prompts, seen, recipe.decode, recipe.eval.batch_size)


def write_results(result: Evaluation) -> None:
    """Write `predictions.jsonl` (a line per record) and `results.json` (facts and a score per task)."""
    result.folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"condition": BASELINE, **prediction.to_json()}, ensure_ascii=False)
        for prediction in result.predictions
    ]
    text = "".join(f"{line}\n" for line in lines)
    replace_text(result.folder / "predictions.jsonl", text)
    scores = [dataclasses.asdict(score) for score in by_task(result.predictions)]
    facts = {**result.facts, "scores": scores}
    replace_text(result.folder / "results.json", json.dumps(facts, indent=2) + "\n")
