"""A supervised run: data, model, reasoner and one trainer per stage."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import set_seed

from latentvr.attention.visibility import Visibility, preset
from latentvr.config.load import Resolved
from latentvr.config.schema import Recipe, StageConfig
from latentvr.data.dataset import EncodedDataset
from latentvr.data.record import Source
from latentvr.errors import Interrupted
from latentvr.evaluation.evaluate import accuracy, answer_all, encode_prompts, encoder_for
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import load_model
from latentvr.models.trainable import count_parameters, set_trainable
from latentvr.models.weights import load_weights
from latentvr.reasoners.base import Stage
from latentvr.runs.folder import fingerprint, open_folder, write_manifest
from latentvr.runs.sources import open_split
from latentvr.trainers import checkpoint
from latentvr.trainers.metrics_file import MetricsFile
from latentvr.trainers.sft import SFTTrainer, StageRun, updates_per_epoch
from latentvr.trainers.signals import StopRequest

log = logging.getLogger(__name__)


@dataclass
class Validation:
    """Accuracy on the validation records, images already encoded."""

    model: LatentModel
    source: Source
    recipe: Recipe

    def __post_init__(self) -> None:
        """Encode the prompts once."""
        encoder = encoder_for(self.model, self.recipe.data.max_length)
        self.prompts = encode_prompts(self.model, self.source, encoder)

    def __call__(self) -> float:
        """Generate and score all answers."""
        recipe, seen = self.recipe, preset(self.recipe.decode.visibility)
        records = self.source.records
        made = answer_all(self.model, records, self.prompts, seen, recipe.decode, recipe.eval.batch_size)
        return accuracy(made)


def train(resolved: Resolved, resume: bool = False) -> Path:
    """Train as a recipe says.

    Args:
        resolved: a checked recipe.
        resume: go on from the newest complete checkpoint of the run folder.

    Returns:
        The folder of the best or last checkpoint, by `train.keep`.

    Raises:
        Interrupted: a signal stopped the run after a save.
        NonFiniteError: a loss or a gradient was not finite.
        UserError: settings, data, model or checkpoints are wrong.
    """
    recipe = resolved.recipe
    source = open_split(recipe.data, "train")
    folder = open_folder(resolved, resume)
    model = build_model(recipe)
    data = EncodedDataset(source, encoder_for(model, recipe.data.max_length), recipe.data.feature_cache == "memory")
    if data.keep:
        cache_features(model, [data[i] for i in range(len(data))])
    facts = {
        "seed": recipe.train.seed,
        "data": {"records": len(data), "sha256": fingerprint(source)},
        "attention": model.backbone.kernel,
    }
    write_manifest(folder, facts)
    runs = stage_runs(recipe, len(data))
    validation = Validation(model, open_split(recipe.data, "validation"), recipe) if validates(recipe) else None
    newest = checkpoint.latest(folder / "checkpoints") if resume else None
    with StopRequest().listening() as stop:
        for run in remaining(runs, newest):
            newest = train_stage(model, recipe, run, folder, data, validation, stop, newest)
    name = "best" if validation is not None and recipe.train.keep == "best" else "last"
    last = checkpoint.listed(folder / "checkpoints")[-1]
    checkpoint.point(folder / "checkpoints", "last", last)
    return folder / "checkpoints" / name


def build_model(recipe: Recipe) -> LatentModel:
    """Load the backbone and put the method on it, on the recipe's device."""
    model = load_model(recipe.model, recipe.reasoner, visibilities(recipe), recipe.train.seed)
    device = recipe.train.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if recipe.train.deterministic:
        torch.use_deterministic_algorithms(True)
    return model.to(device)


def visibilities(recipe: Recipe) -> list[Visibility]:
    """All visibilities that a run uses."""
    return [preset(name) for name in (*(s.visibility for s in recipe.stages.values()), recipe.decode.visibility)]


def validates(recipe: Recipe) -> bool:
    """Whether the last stage is validated."""
    has_data = recipe.data.source == "toy" or recipe.data.validation is not None
    return bool(recipe.train.validate_epochs) and has_data


def stage_runs(recipe: Recipe, samples: int) -> list[StageRun]:
    """Lay the stages out over optimiser steps; stages without steps are left out."""
    per_epoch = updates_per_epoch(samples, recipe)
    wanted = [(name, stage, _steps(stage, per_epoch)) for name, stage in recipe.stages.items()]
    wanted = [entry for entry in wanted if entry[2]]
    out: list[StageRun] = []
    first = 0
    for index, (name, stage, steps) in enumerate(wanted):
        rate = stage.learning_rate or recipe.optim.learning_rate
        seen = Stage(name, preset(stage.visibility))
        out.append(StageRun(seen, index, first, steps, rate, index == len(wanted) - 1))
        first += steps
    return out


def _steps(stage: StageConfig, per_epoch: int) -> int:
    """Optimiser steps of a stage."""
    return stage.steps if stage.steps is not None else round(stage.epochs * per_epoch)


def remaining(runs: list[StageRun], newest: Path | None) -> list[StageRun]:
    """Stages that are not finished at the newest checkpoint."""
    if newest is None:
        return runs
    state = json.loads((newest / checkpoint.STATE).read_text(encoding="utf-8"))
    return runs[state["stage"] + (1 if state["done"] else 0) :]


def train_stage(
    model: LatentModel,
    recipe: Recipe,
    run: StageRun,
    folder: Path,
    data: EncodedDataset,
    validation: Validation | None,
    stop: StopRequest,
    newest: Path | None,
) -> Path:
    """Train one stage, from its start or from a checkpoint inside it.

    Returns:
        The newest checkpoint afterwards.
    """
    set_seed(recipe.train.seed + run.index)
    if newest is not None:
        load_weights(model, newest)
    kind = recipe.stages[run.stage.name].trainable or recipe.optim.trainable
    set_trainable(model, kind, recipe.model.lora)
    total, trains = count_parameters(model)
    log.info("stage %s: %d steps, %d of %d parameters train", run.stage.name, run.steps, trains, total)
    inside = newest is not None and checkpoint.step_of(newest) > run.first_step
    MetricsFile(folder / "metrics.jsonl").rewind(checkpoint.step_of(newest) if newest else 0)
    trainer = SFTTrainer(model, recipe, run, folder, data, validation, stop)
    trainer.train(resume_from_checkpoint=str(newest) if inside else None)
    last = checkpoint.listed(folder / "checkpoints")[-1]
    if stop.exit_code is not None:
        raise Interrupted(f"stopped by a signal after a save at {last}; go on with --resume", stop.exit_code)
    return last
