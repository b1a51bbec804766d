"""Measure a checkpoint: accuracy per task, and on request the usage checks, with a report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentvr.attention.visibility import preset
from latentvr.config.load import Resolved, load
from latentvr.config.schema import Recipe
from latentvr.data.record import Source
from latentvr.errors import RecipeError
from latentvr.evaluation.evaluate import answer_all, encode_prompts, encoder_for
from latentvr.evaluation.metrics import Prediction, by_task
from latentvr.evaluation.report import write_report
from latentvr.evaluation.usage import check_usage
from latentvr.models.latent_model import LatentModel
from latentvr.runs.folder import RESOLVED
from latentvr.runs.inference import load_checkpoint
from latentvr.runs.sources import open_split
from latentvr.runs.usage_report import attention_mass, evaluation_report, examples


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        checkpoint: as the user named it.
        split: of the data.
        predictions: by the name of the condition; None where it does not apply.
        attention: mean attention mass from answer to latents, or None where there are no latents.
        folder: where the results are.
    """

    checkpoint: str
    split: str
    predictions: dict[str, list[Prediction] | None]
    attention: float | None
    folder: Path


def recipe_of(path: Path, overrides: Sequence[str]) -> Resolved:
    """Find the settings of a run folder or of the run that a checkpoint lies in, and apply overrides."""
    root = run_folder(path)
    return load(root / RESOLVED if root else None, overrides)


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
        overrides: settings on top of the run's own.
        data: records file in place of the recipe's.
        split: "validation" or "test"; that of the recipe by default.
        usage: also run the usage checks.
        out: folder for results; `eval/SPLIT` in the run folder by default.

    Returns:
        What was measured, and the folder that it was written to.

    Raises:
        UserError: checkpoint, settings or data are wrong.
    """
    resolved = recipe_of(path, overrides)
    recipe = resolved.recipe
    split = split or recipe.eval.split
    model = load_checkpoint(path)
    source = _source(recipe, data, split)
    if not source.records:
        raise RecipeError(f"expected records in the split {split!r}, got none; fix: choose another split")
    predictions, attention = measure(model, source, recipe, usage)
    folder = out or default_folder(path, split)
    folder.mkdir(parents=True, exist_ok=True)
    result = Evaluation(str(path), split, predictions, attention, folder)
    write_results(result)
    if usage:
        made = predictions["as trained"] or []
        shown = examples(model, source, made, preset(recipe.decode.visibility))
        report = evaluation_report(f"{path}, {split}", predictions, attention, shown, run_folder(path))
        write_report(folder / "report.html", report)
    return result


def _source(recipe: Recipe, data: Path | None, split: str) -> Source:
    """Open the records that were asked for."""
    if data is not None:
        recipe.data.source = "records"
        setattr(recipe.data, split, str(data))
    return open_split(recipe.data, split)


def run_folder(path: Path) -> Path | None:
    """Find the run folder that a path is, or that a checkpoint lies in."""
    candidates = (path, path.parent.parent, path.resolve().parent.parent)
    return next((root for root in candidates if (root / RESOLVED).is_file()), None)


def default_folder(path: Path, split: str) -> Path:
    """`eval/SPLIT` in the run folder of a checkpoint, or in the working folder's `runs/eval`."""
    root = run_folder(path)
    return root / "eval" / split if root else Path("runs") / "eval" / path.name / split


def measure(
    model: LatentModel, source: Source, recipe: Recipe, usage: bool
) -> tuple[dict[str, list[Prediction] | None], float | None]:
    """Predictions by condition, and the answer-to-latent attention."""
    seen, size = preset(recipe.decode.visibility), recipe.eval.batch_size
    if usage:
        predictions = check_usage(model, source, seen, recipe.decode, size)
        return predictions, attention_mass(model, source, seen, size)
    prompts = encode_prompts(model, source, encoder_for(model, recipe.data.max_length))
    return {"as trained": answer_all(model, source.records, prompts, seen, recipe.decode, size)}, None


def write_results(result: Evaluation) -> None:
    """Write `predictions.jsonl` (a line per condition and record) and `results.json` (scores)."""
    lines = [
        json.dumps({"condition": name, **prediction.to_json()}, ensure_ascii=False)
        for name, predictions in result.predictions.items()
        for prediction in predictions or ()
    ]
    (result.folder / "predictions.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    scores = {
        name: None if predictions is None else [dataclasses.asdict(s) for s in by_task(predictions)]
        for name, predictions in result.predictions.items()
    }
    facts = {
        "checkpoint": result.checkpoint,
        "split": result.split,
        "scores": scores,
        "answer_to_latent_attention": result.attention,
    }
    (result.folder / "results.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
