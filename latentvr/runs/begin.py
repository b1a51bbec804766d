"""How every run of training begins: its device, start, processes and folder, and where it goes on."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState

from latentvr.config.deepspeed_rules import zero_stage
from latentvr.config.load import Resolved
from latentvr.config.schema import Recipe
from latentvr.data.record import Source
from latentvr.errors import RecipeError
from latentvr.models.latent_model import LatentModel
from latentvr.runs.folder import fingerprint, open_folder, require_place, write_manifest
from latentvr.runs.inference import find_checkpoint
from latentvr.runs.processes import join_processes
from latentvr.trainers import checkpoint
from latentvr.trainers.metrics_file import MetricsFile
from latentvr.trainers.stage import device
from latentvr.trainers.trackers import require_packages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beginning:
    """Where a run begins or goes on.

    Attributes:
        processes: of the run.
        newest: newest checkpoint of a run that goes on; None at the start.
    """

    processes: PartialState
    newest: Path | None

    @property
    def step(self) -> int:
        """Optimiser steps that are done."""
        return 0 if self.newest is None else checkpoint.step_of(self.newest)


def begin(resolved: Resolved, resume: bool, stages: Collection[str]) -> Beginning:
    """Check and join all that a run needs before anything slow happens; nothing is written.

    Args:
        resolved: a checked recipe; its `model.path` becomes the checkpoint that it means.
        resume: go on from the newest complete checkpoint of the run folder.
        stages: names of the run's stages.

    Returns:
        The beginning.

    Raises:
        UserError: device, start, folder, trackers or checkpoints are wrong.
    """
    recipe = resolved.recipe
    require_device(recipe)
    start_from(recipe)
    processes = join_processes(recipe)
    require_place(resolved, resume)
    processes.wait_for_everyone()  # the main process writes there soon
    require_packages([str(name) for name in recipe.log.trackers])
    folder = Path(recipe.train.output_dir)
    found = Beginning(processes, checkpoint.latest(folder / "checkpoints") if resume else None)
    if found.newest is not None:
        checkpoint.require_stage(found.newest, stages)
        checkpoint.require_processes(found.newest, processes.num_processes)
    if resume:
        log.info("resuming after step %d of %s", found.step, folder)
    return found


def write_beginning(
    resolved: Resolved, beginning: Beginning, source: Source, model: LatentModel, logs: Collection[str]
) -> None:
    """Open the run folder, write or extend the manifest, and cut logs back to where the run goes on.

    Args:
        resolved: the recipe.
        beginning: the main process alone writes.
        source: training records.
        model: says which attention kernel it has.
        logs: names of the files that grow with the run.

    Raises:
        CheckpointError: a line of a log is damaged.
        RecipeError: the training data are not those that the run began with.
        SaveError: the system refused the write.
    """
    if not beginning.processes.is_main_process:
        return
    folder = open_folder(resolved)
    facts = {
        "seed": resolved.recipe.train.seed,
        "data": {"records": len(source.records), "sha256": fingerprint(source)},
        "attention": model.backbone.kernel,
        "zero_stage": zero_stage(resolved.recipe),
    }
    write_manifest(folder, facts, beginning.step)
    for name in logs:
        MetricsFile(folder / name).rewind(beginning.step)


def start_from(recipe: Recipe) -> None:
    """Put the checkpoint that `model.path` means in its place, where it is one of ours or a run folder.

    Args:
        recipe: changed in place; what is saved then names the checkpoint itself and no link.

    Raises:
        CheckpointError: the checkpoint is damaged, or the run has none.
    """
    path = Path(recipe.model.path)
    found = find_checkpoint(path) if path.is_dir() else None
    if found is not None:
        recipe.model.path = str(found if path.is_absolute() else Path(os.path.relpath(found)))


def require_device(recipe: Recipe) -> None:
    """Refuse a device that this machine lacks, or a number format that the device cannot train in.

    Args:
        recipe: all settings.

    Raises:
        RecipeError: there is no GPU, or float16 would train on the CPU.
    """
    if device(recipe) == "cpu" and recipe.model.dtype == "float16":
        raise RecipeError(
            "expected float32 or bfloat16 on the CPU, got float16, at model.dtype; "
            "fix: set model.dtype=float32"
        )
