"""One stage of a run, in the run's terms and in those of `transformers.Trainer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_callback import TrainerState

from latentvr.config.schema import Recipe
from latentvr.models.device import choose_device
from latentvr.reasoners.base import Stage
from latentvr.trainers.checkpoint import unreadable


@dataclass(frozen=True)
class StageRun:
    """One stage of a run.

    Attributes:
        stage: name and visibility.
        index: place among the run's stages.
        first_step: optimiser steps of the run before it.
        steps: its own optimiser steps.
        learning_rate: its peak rate.
        last: whether it is the final stage, which alone is validated.
    """

    stage: Stage
    index: int
    first_step: int
    steps: int
    learning_rate: float
    last: bool


def updates_per_epoch(samples: int, recipe: Recipe, ranks: int = 1) -> int:
    """Optimiser steps in one pass over `samples`; the last of a pass may be smaller."""
    batches = -(-samples // (recipe.train.batch_size * ranks))
    return -(-batches // recipe.train.gradient_accumulation)


def stage_seed(recipe: Recipe, index: int) -> int:
    """Seed of a stage's generators, within what NumPy takes."""
    return (recipe.train.seed + index) % 2**32


def device(recipe: Recipe) -> str:
    """Device of a run: "cuda" or "cpu"."""
    return choose_device(recipe.train.device)


def training_arguments(
    recipe: Recipe, run: StageRun, folder: Path, deepspeed: dict[str, Any] | None = None
) -> TrainingArguments:
    """Translate the recipe for `transformers.Trainer`; `RunFlow` and `tracker_callbacks` save and log.

    Number formats are in the settings of `deepspeed` where there are any.
    """
    dtype = recipe.model.dtype if deepspeed is None else None
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=run.steps,
        per_device_train_batch_size=recipe.train.batch_size,
        gradient_accumulation_steps=recipe.train.gradient_accumulation,
        learning_rate=run.learning_rate,
        max_grad_norm=recipe.optim.max_grad_norm,
        seed=stage_seed(recipe, run.index),
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=device(recipe) == "cpu",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        run_name=folder.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=recipe.data.workers,
        dataloader_pin_memory=False,
        average_tokens_across_devices=False,
        deepspeed=deepspeed,
    )
    args._n_gpu = min(args.n_gpu, 1)  # several GPUs are several processes, never threads of one
    return args


def trainer_state(folder: Path) -> TrainerState:
    """Read the trainer's part of a checkpoint.

    Args:
        folder: a verified checkpoint.

    Returns:
        Steps, log and best validation of the stage so far.

    Raises:
        CheckpointError: the file is of another kind, although the listing fits it.
    """
    file = folder / "trainer_state.json"
    try:
        return TrainerState.load_from_json(str(file))
    except (ValueError, TypeError) as error:
        raise unreadable(file) from error
