"""A supervised run: data, model, reasoner and one trainer per stage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from transformers import set_seed

from latentvr.attention.visibility import Visibility, preset
from latentvr.config.device_rules import no_flex
from latentvr.config.load import Resolved
from latentvr.config.memory_keys import for_weights
from latentvr.config.schema import Kernel, Recipe, StageConfig
from latentvr.data.dataset import EncodedDataset
from latentvr.data.packing import Packing
from latentvr.data.record import Source
from latentvr.errors import CheckpointError, Interrupted, VisibilityError
from latentvr.evaluation.evaluate import accuracy, answer_all
from latentvr.evaluation.prompts import Prompts, encoder_for
from latentvr.models.compiled import compile_parts
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import choose_kernel
from latentvr.models.out_of_memory import Work, enough_memory
from latentvr.models.published import load_published
from latentvr.models.trainable import count_parameters, set_trainable, train_language
from latentvr.models.vision_attention import set_vision_attention
from latentvr.models.weights import load_weights, read_card
from latentvr.reasoners.base import Stage
from latentvr.runs.begin import begin, write_beginning
from latentvr.runs.feature_cache import stored_features
from latentvr.runs.packing import staged
from latentvr.runs.processes import warn_of_repeats
from latentvr.runs.sources import open_split, open_training
from latentvr.trainers import checkpoint
from latentvr.trainers.refused_launch import require_even_images
from latentvr.trainers.sft import SFTTrainer
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import StageRun, device, stage_seed, trainer_state, updates_per_epoch

log = logging.getLogger(__name__)
#: Samples whose patches are in memory together while features are cached.
ENCODED_AT_ONCE = 64


@dataclass
class Validation:
    """Accuracy on the validation records; with `data.feature_cache` each image is encoded once."""

    model: LatentModel
    source: Source
    recipe: Recipe

    def __post_init__(self) -> None:
        """Prepare the prompts."""
        encoder = encoder_for(self.model, self.recipe.data.max_length)
        keep = self.recipe.data.feature_cache == "memory"
        known = stored_features(self.model, self.source, encoder, self.recipe.data, with_answer=False)
        self.prompts = Prompts(self.model, self.source, encoder, keep, known=known)

    def __call__(self) -> float:
        """Generate and score all answers."""
        recipe, seen = self.recipe, preset(self.recipe.decode.visibility)
        size = recipe.eval.batch_size
        return accuracy(answer_all(self.model, self.prompts, seen, recipe.decode, size, phase="validation"))


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
    beginning = begin(resolved, resume, list(recipe.stages))
    processes, newest = beginning.processes, beginning.newest
    model, data = build_model_and_data(recipe)
    kinds = [stage.trainable or recipe.optim.trainable for stage in recipe.stages.values()]
    require_even_images(recipe, kinds, data.source.records, processes.num_processes)
    write_beginning(resolved, beginning, data.source, model, ["metrics.jsonl"])
    folder = Path(recipe.train.output_dir)
    checkpoints = folder / "checkpoints"
    items = staged(recipe, data)
    runs = stage_runs(recipe, items.count, processes.num_processes)
    warn_of_repeats(recipe, [items.count(run.index) for run in runs], processes)
    validation = (
        Validation(model, open_split(recipe.data, "validation"), recipe) if validates(recipe) else None
    )
    with StopRequest().listening() as stop:
        for run in remaining(runs, newest):
            newest = train_stage(model, recipe, run, folder, items, validation, stop, newest)
    name = "best" if validation and recipe.train.keep == "best" else "last"
    if processes.is_main_process:
        finish(checkpoints, runs[-1], name)
    return checkpoints / name


def finish(checkpoints: Path, run: StageRun, name: str) -> Path:
    """Link the run's last checkpoint and the best one, which a kill may have left without its link.

    Args:
        checkpoints: folder.
        run: the last stage.
        name: "best" or "last".

    Returns:
        `checkpoints/name`.

    Raises:
        CheckpointError: the best checkpoint is gone.
    """
    last = checkpoint.listed(checkpoints)[-1]
    checkpoint.point(checkpoints, "last", last)
    best = trainer_state(last).best_global_step
    if best is not None:
        target = checkpoints / checkpoint.folder_name(run.first_step + best)
        if name == "best" and not target.is_dir():
            raise CheckpointError(
                f"expected the best checkpoint {target.name}, got none, at {str(checkpoints)!r}; "
                "fix: use the last one, or start the run again"
            )
        checkpoint.link_best(checkpoints, run.first_step + best)
    return checkpoints / name


def build_model_and_data(recipe: Recipe) -> tuple[LatentModel, EncodedDataset]:
    """Load the model and open the training data, with cached features where the recipe asks for them.

    Args:
        recipe: all settings.

    Returns:
        The model on the recipe's device, and the encoded training records.

    Raises:
        RecordError: there are no records.
    """
    source = open_training(recipe.data)
    model = build_model(recipe)
    encoder = encoder_for(model, recipe.data.max_length)
    for record in source.records:  # at once, and not when its turn comes
        encoder.require(record, source.where(record))
    known = stored_features(model, source, encoder, recipe.data)
    data = EncodedDataset(source, encoder, recipe.data.feature_cache == "memory", known)
    if data.keep:
        for start in range(0, len(data), ENCODED_AT_ONCE):
            cache_features(model, [data[i] for i in range(start, min(start + ENCODED_AT_ONCE, len(data)))])
    return model, data


def build_model(recipe: Recipe) -> LatentModel:
    """Load the backbone and put the method on it, on the recipe's device; flex cannot train on a CPU."""
    config = recipe.model
    if config.attention == "flex" and device(recipe) == "cpu":
        raise VisibilityError(f"model.attention: {no_flex()}")
    if recipe.data.packing:
        kernel = choose_kernel(config.attention, visibilities(recipe), packed=True)
        config = replace(config, attention=cast(Kernel, kernel))
    model = load_published(config, recipe.reasoner, visibilities(recipe), recipe.train.seed)
    if recipe.train.deterministic:
        torch.use_deterministic_algorithms(True)
    with enough_memory(Work("the model's weights"), lambda _: for_weights(recipe.model.dtype)):
        model = model.to(device(recipe))
    set_vision_attention(model.backbone, config.vision_attention)
    return model


def visibilities(recipe: Recipe) -> list[Visibility]:
    """All visibilities that a run uses."""
    return [
        preset(name) for name in (*(s.visibility for s in recipe.stages.values()), recipe.decode.visibility)
    ]


def validates(recipe: Recipe) -> bool:
    """Whether the last stage is validated."""
    has_data = recipe.data.source == "toy" or recipe.data.validation is not None
    return bool(recipe.train.validate_epochs) and has_data


def stage_runs(recipe: Recipe, items: int | Callable[[int], int], ranks: int = 1) -> list[StageRun]:
    """Lay the stages out over the optimiser steps of `ranks` processes; stages without steps are left out.

    Args:
        recipe: all settings.
        items: number of samples or rows to train on, or what gives it for the stage with an index.
        ranks: number of processes.

    Returns:
        The stages, numbered from 0.
    """
    wanted = [(name, stage) for name, stage in recipe.stages.items() if _steps(stage, 1)]
    out: list[StageRun] = []
    first = 0
    for index, (name, stage) in enumerate(wanted):
        count = items if isinstance(items, int) else items(index)
        steps = _steps(stage, updates_per_epoch(count, recipe, ranks))
        rate = stage.learning_rate or recipe.optim.learning_rate
        seen = Stage(name, preset(stage.visibility))
        out.append(StageRun(seen, index, first, steps, rate, index == len(wanted) - 1))
        first += steps
    return out


def _steps(stage: StageConfig, per_epoch: int) -> int:
    """Optimiser steps of a stage."""
    if stage.steps is not None:
        return stage.steps
    return max(1, round(stage.epochs * per_epoch)) if stage.epochs else 0


def remaining(runs: list[StageRun], newest: Path | None) -> list[StageRun]:
    """Stages that are not finished at the newest checkpoint."""
    if newest is None:
        return runs
    state = checkpoint.read_state(newest)
    return runs[state["stage"] + (1 if state["done"] else 0) :]


def train_stage(
    model: LatentModel,
    recipe: Recipe,
    run: StageRun,
    folder: Path,
    data: EncodedDataset | Packing,
    validation: Validation | None,
    stop: StopRequest,
    newest: Path | None,
) -> Path:
    """Train one stage, from its start or from a checkpoint inside it.

    Args:
        model: changed in place.
        recipe: all settings.
        run: the stage.
        folder: run folder.
        data: encoded training records, or rows of them.
        validation: None trains without validation.
        stop: a signal to stop, if one came.
        newest: newest checkpoint of the run, or None at its start.

    Returns:
        The newest checkpoint afterwards.
    """
    set_seed(stage_seed(recipe, run.index))
    if newest is not None:
        restore(model, newest)
    kind = recipe.stages[run.stage.name].trainable or recipe.optim.trainable
    set_trainable(model, kind, recipe.model.lora)
    if recipe.model.compile:
        compile_parts(model)
    total, trains = count_parameters(model)
    log.info("stage %s: %d steps, %d of %d parameters train", run.stage.name, run.steps, trains, total)
    inside = newest if newest is not None and checkpoint.step_of(newest) > run.first_step else None
    trainer = SFTTrainer(model, recipe, run, folder, data.of_stage(run.index), validation, stop)
    if inside is not None:
        trainer_state(inside)  # unreadable, it is refused here in one sentence
    trainer.train(resume_from_checkpoint=None if inside is None else str(inside))
    last = checkpoint.listed(folder / "checkpoints")[-1]
    if stop.exit_code is not None:
        raise Interrupted(f"stopped by a signal after a save at {last}; go on with --resume", stop.exit_code)
    return last


def restore(model: LatentModel, folder: Path) -> None:
    """Load weights to go on with training; a language model that trained is kept in float32."""
    if read_card(folder)["weights"] == "language":
        train_language(model)
    load_weights(model, folder)
