"""Measure a checkpoint: accuracy per task, and on request the usage checks, with a report."""

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
from latentvr.errors import RecipeError
from latentvr.evaluation.evaluate import answer_all
from latentvr.evaluation.metrics import Prediction, by_task
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.evaluation.report import write_report
from latentvr.evaluation.usage import AS_TRAINED, check_usage
from latentvr.models.latent_model import LatentModel
from latentvr.runs.folder import fingerprint, run_folder, settings_of
from latentvr.runs.inference import find_checkpoint, load_found
from latentvr.runs.sources import open_split
from latentvr.runs.usage_report import attention_mass, evaluation_report, examples

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
        predictions: by the name of the condition; None where it does not apply.
        attention: mean attention mass from answer to latents, or None where there are no latents.
        facts: checkpoint, data and settings that the figures belong to.
        folder: where the results are.
        opens_spans: whether the method opens latent spans in its answers.
    """

    predictions: dict[str, list[Prediction] | None]
    attention: float | None
    facts: dict[str, Any]
    folder: Path
    opens_spans: bool


def evaluate(
    path: Path,
    overrides: Sequence[str] = (),
    data: Path | None = None,
    split: str | None = None,
    usage: bool = False,
    out: Path | None = None,
) -> Evaluation:
    """Answer the records of a split with a checkpoint and score the answers.

    Args:
        path: run folder, checkpoint, model folder or hub id.
        overrides: settings on top of the run's own, out of `SECTIONS` and `KEYS`.
        data: records file in place of the recipe's.
        split: "validation" or "test"; that of the recipe by default.
        usage: also run the usage checks.
        out: folder for results; `eval/SPLIT` in the run folder by default.

    Returns:
        What was measured, and the folder that it was written to.

    Raises:
        UserError: checkpoint, settings or data are wrong, or the folder holds other results.
    """
    resolved = settings(path, overrides, data, split)
    recipe = resolved.recipe
    found = find_checkpoint(path)
    source = open_split(recipe.data, recipe.eval.split)
    if not source.records:
        raise RecipeError(
            f"expected records in the split {recipe.eval.split!r}, got none; fix: choose another split"
        )
    folder = out or default_folder(path, recipe.eval.split, data)
    facts = describe(path, recipe, source)
    require_same(folder, facts)
    model = load_found(found, path, recipe.train.device, model_overrides(resolved, overrides))
    predictions, attention = measure(model, source, recipe, usage)
    result = Evaluation(predictions, attention, facts, folder, model.reasoner.span() is not None)
    write_results(result)
    if usage:
        shown = examples(model, source, predictions[AS_TRAINED] or [], recipe)
        title = f"{path}, {recipe.eval.split}"
        report = evaluation_report(title, predictions, attention, shown, run_folder(path))
        write_report(folder / "report.html", report)
    return result


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


def default_folder(path: Path, split: str, data: Path | None, verb: str = "eval") -> Path:
    """`VERB/SPLIT`, or `VERB/NAME` of the data, in a checkpoint's run folder or in `runs/VERB`."""
    name = data.stem if data is not None else split
    root = run_folder(path)
    return root / verb / name if root else Path("runs") / verb / path.name / name


def describe(path: Path, recipe: Recipe, source: Source) -> dict[str, Any]:
    """What figures belong to: checkpoint, records, and how answers are written."""
    return {
        "checkpoint": str(path),
        "split": recipe.eval.split,
        "data": {"records": len(source.records), "sha256": fingerprint(source)},
        "decode": dataclasses.asdict(recipe.decode),
    }


def require_same(folder: Path, facts: dict[str, Any]) -> None:
    """Refuse to write over the results of another evaluation.

    Args:
        folder: for the results.
        facts: of the evaluation that is to run.

    Raises:
        RecipeError: the folder's results are of other data or settings.
    """
    file = folder / "results.json"
    if not file.is_file():
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    other = [key for key in ("data", "decode") if before.get(key) != facts[key]]
    if other:
        raise RecipeError(
            f"expected results of the same {' and '.join(other)}, got others, at {str(file)!r}; "
            "fix: choose another folder with --out"
        )


def measure(
    model: LatentModel, source: Source, recipe: Recipe, usage: bool
) -> tuple[dict[str, list[Prediction] | None], float | None]:
    """Predictions by condition, and the answer-to-latent attention."""
    if usage:
        return check_usage(model, source, recipe), attention_mass(model, source, recipe)
    prompts = Prompts(model, source, encoder_for(model, recipe.data.max_length))
    seen = preset(recipe.decode.visibility)
    return {AS_TRAINED: answer_all(model, prompts, seen, recipe.decode, recipe.eval.batch_size)}, None


def write_results(result: Evaluation) -> None:
    """Write `predictions.jsonl` (a line per condition and record) and `results.json` (facts and scores)."""
    result.folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"condition": name, **prediction.to_json()}, ensure_ascii=False)
        for name, predictions in result.predictions.items()
        for prediction in predictions or ()
    ]
    text = "".join(f"{line}\n" for line in lines)
    (result.folder / "predictions.jsonl").write_text(text, encoding="utf-8")
    scores = {
        name: None if predictions is None else [dataclasses.asdict(s) for s in by_task(predictions)]
        for name, predictions in result.predictions.items()
    }
    facts = {**result.facts, "scores": scores, "answer_to_latent_attention": result.attention}
    (result.folder / "results.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
