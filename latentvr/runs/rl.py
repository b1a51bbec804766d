"""A run of reinforcement: a model to start from, prompts, rewards, one trainer and a report."""

from __future__ import annotations

import logging
from pathlib import Path

from peft import PeftModel
from transformers import set_seed

from latentvr.attention.visibility import preset
from latentvr.config.load import Resolved
from latentvr.config.schema import Recipe
from latentvr.data.record import Source
from latentvr.errors import Interrupted
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.compiled import compile_parts
from latentvr.models.latent_model import LatentModel
from latentvr.models.trainable import count_parameters, set_trainable
from latentvr.models.weights import load_weights
from latentvr.reasoners.base import Stage
from latentvr.rl.health import flags_for
from latentvr.rl.prompts import RoundPrompts
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.rewards.registry import resolve
from latentvr.rl.rounds import rounds
from latentvr.runs.begin import begin, write_beginning
from latentvr.runs.feature_cache import stored_features
from latentvr.runs.rl_report import write_rl_report
from latentvr.runs.sft import Validation, build_model, finish, validates
from latentvr.runs.sources import open_split, open_training
from latentvr.trainers import checkpoint
from latentvr.trainers.grpo import GRPOTrainer
from latentvr.trainers.reference import Reference
from latentvr.trainers.refused_launch import require_even_images
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import StageRun, stage_seed, trainer_state

log = logging.getLogger(__name__)
STAGE = "grpo"


def train(resolved: Resolved, resume: bool = False) -> Path:
    """Train by reinforcement as a recipe says.

    Args:
        resolved: a checked recipe.
        resume: go on from the newest complete checkpoint of the run folder.

    Returns:
        The folder of the best or last checkpoint, by `train.keep`.

    Raises:
        Interrupted: a signal stopped the run after a save.
        NonFiniteError: a loss or a gradient was not finite.
        UserError: settings, data, model, rewards or checkpoints are wrong.
    """
    recipe = resolved.recipe
    beginning = begin(resolved, resume, [STAGE])
    processes, newest = beginning.processes, beginning.newest
    rewards = Rewards(resolve(recipe.rl), recipe.rl.reward_weights, recipe.rl.reward_timeout)
    source = open_training(recipe.data)
    rewards.require(source)
    require_even_images(recipe, [recipe.optim.trainable], source.records, processes.num_processes)
    model = build_model(recipe)
    prompts = build_prompts(model, source, recipe)
    write_beginning(resolved, beginning, source, model, ["metrics.jsonl", "completions.jsonl"])
    folder = Path(recipe.train.output_dir)
    run = stage_run(recipe, len(source.records), processes.num_processes)
    validation = (
        Validation(model, open_split(recipe.data, "validation"), recipe) if validates(recipe) else None
    )
    with StopRequest().listening() as stop:
        _train(model, recipe, run, prompts, rewards, validation, stop, newest)
    name = "best" if validation and recipe.train.keep == "best" else "last"
    if processes.is_main_process:
        finish(folder / "checkpoints", run, name)
        flags = flags_for(str(recipe.model.dtype))
        write_rl_report(folder, rewards.names, recipe.rl.health_steps, flags)
    return folder / "checkpoints" / name


def build_prompts(model: LatentModel, source: Source, recipe: Recipe) -> RoundPrompts:
    """Prepare the prompts; records that no prompt can be made of are refused at once."""
    encoder = encoder_for(model, recipe.data.max_length)
    for record in source.records:
        encoder.require(record, source.where(record), with_answer=False)
    known = stored_features(model, source, encoder, recipe.data, with_answer=False)
    return RoundPrompts(model, source, encoder, recipe.data.feature_cache == "memory", known)


def stage_run(recipe: Recipe, prompts: int, ranks: int = 1) -> StageRun:
    """The one stage of a run; its visibility is that of decoding, in rollouts and in replay."""
    seen = Stage(STAGE, preset(recipe.decode.visibility))
    return StageRun(seen, 0, 0, rounds(recipe, prompts, ranks).steps, recipe.optim.learning_rate, True)


def _train(
    model: LatentModel,
    recipe: Recipe,
    run: StageRun,
    prompts: RoundPrompts,
    rewards: Rewards,
    validation: Validation | None,
    stop: StopRequest,
    newest: Path | None,
) -> None:
    """Train from the start, or from a checkpoint; the reference is the model at the start in both cases."""
    if newest is not None and checkpoint.read_state(newest)["done"]:
        return
    set_seed(stage_seed(recipe, run.index))
    new_adapters = not isinstance(model.base, PeftModel)
    set_trainable(model, recipe.optim.trainable, recipe.model.lora)
    if recipe.model.compile:
        compile_parts(model)
    total, trains = count_parameters(model)
    log.info("%s: %d steps, %d of %d parameters train", run.stage.name, run.steps, trains, total)
    reference = (
        Reference(model, new_adapters and isinstance(model.base, PeftModel)) if recipe.rl.beta else None
    )
    if newest is not None:
        load_weights(model, newest)  # before a trainer: its settings of DeepSpeed would split what is loaded
    folder = Path(recipe.train.output_dir)
    trainer = GRPOTrainer(model, recipe, run, folder, prompts, rewards, reference, validation, stop)
    if newest is not None:
        trainer_state(newest)  # unreadable, it is refused here in one sentence
        trainer.resume_from(newest)
    trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    if stop.exit_code is not None:
        last = checkpoint.listed(folder / "checkpoints")[-1]
        raise Interrupted(f"stopped by a signal after a save at {last}; go on with --resume", stop.exit_code)
