"""What a trainer is busy with, so that a lack of memory can be told in its terms."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor

from latentvr.config.memory_keys import Doing, for_training
from latentvr.config.schema import Recipe
from latentvr.models.latent_model import LatentModel
from latentvr.models.out_of_memory import Work, enough_memory, work_on
from latentvr.trainers import checkpoint

#: What of a batch tells its size; the rest is not held on to.
_SIZES = ("input_ids", "labels", "documents", "image_grid_thw", "reference_image_grid_thw")


class Busy:
    """The phase of a stage's training, and its batch.

    Args:
        model: says how large a patch is.
        recipe: all settings.
        stage: name of the stage.
        folder: run folder.
    """

    def __init__(self, model: LatentModel, recipe: Recipe, stage: str, folder: Path) -> None:
        self._patch = int(model.processor.image_processor.patch_size)
        self._recipe = recipe
        self._stage = stage
        self._folder = folder
        self._phase = "the start"
        self._batch: dict[str, Any] = {}

    def at(self, phase: str, batch: Mapping[str, Any] | None = None) -> None:
        """Say what comes now.

        Args:
            phase: in words, such as "the backward pass".
            batch: from `collate`; None goes on with the last one.
        """
        self._phase = phase
        if batch is not None:
            self._batch = {key: batch[key] for key in _SIZES if key in batch}

    def watched(self) -> AbstractContextManager[None]:
        """Where a lack of memory becomes one sentence, an `OutOfMemory`."""
        return enough_memory(self._work, lambda pixels: for_training(self._recipe, self._doing(pixels)))

    def _doing(self, pixels: int | None) -> Doing:
        processes = PartialState().num_processes
        return Doing(pixels, self._stage, _longest(self._batch.get("documents")), processes)

    def _work(self) -> Work:
        phase, after = f"{self._phase} of stage {self._stage!r}", saved(self._folder)
        if not self._batch:
            return Work(phase, after=after)
        return work_on(phase, self._batch, self._patch, after)


def _longest(documents_BS: Tensor | None) -> int:
    """Tokens of the longest sample in packed rows; 0 where rows are not packed."""
    rows = [] if documents_BS is None else [row[row >= 0] for row in documents_BS.cpu()]
    return max((int(torch.bincount(row).max()) for row in rows if len(row)), default=0)


def saved(folder: Path) -> str:
    """Say what a run has saved and how to go on from there; "" where there is nothing.

    Args:
        folder: run folder.

    Returns:
        The end of a sentence.
    """
    newest = checkpoint.latest(folder / "checkpoints")
    if newest is None:
        return ""
    return (
        f"; {newest.name} is saved: --resume goes on from it, where nothing but model.gradient_checkpointing "
        f"and train.deepspeed may change, and a new run with model.path={newest} begins with its weights"
    )
