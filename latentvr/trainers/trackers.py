"""Trackers beside `metrics.jsonl`: none unless the recipe asks for one."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from latentvr.errors import RecipeError

TENSORBOARD = "tensorboard"


def require_packages(names: Sequence[str]) -> None:
    """Refuse trackers whose package is not installed.

    Args:
        names: trackers, each called like its package.

    Raises:
        RecipeError: names the first one.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise RecipeError(
                f"expected the package {name!r} for log.trackers, got none installed; "
                f"fix: pip install {name}, or leave it out of log.trackers"
            )


class TensorBoard(TrainerCallback):
    """Writes scalars over the steps of the run, not of the stage; a resumed run replaces later points.

    Args:
        folder: of the event files.
        first_step: optimiser steps of the run before this stage.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder = folder
        self.first_step = first_step
        self._writer: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open an event file."""
        del args, control
        if state.is_world_process_zero:
            from torch.utils.tensorboard import SummaryWriter

            step = self.first_step + state.global_step + 1
            self._writer = SummaryWriter(str(self.folder), purge_step=step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write the figures of a row."""
        del args, control
        if self._writer is not None:
            for name, value in (logs or {}).items():
                if name not in ("step", "epoch"):
                    self._writer.add_scalar(name, value, self.first_step + state.global_step)
            self._writer.flush()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the event file."""
        del args, state, control
        if self._writer is not None:
            self._writer.close()
            self._writer = None
