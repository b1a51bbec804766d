"""Trackers beside `metrics.jsonl`: none unless the recipe asks for one."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks
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


def tracker_callbacks(names: Sequence[str], folder: Path, first_step: int) -> list[TrainerCallback]:
    """Make the callbacks of the trackers; all count the steps of the run.

    Args:
        names: from `log.trackers`.
        folder: run folder.
        first_step: optimiser steps of the run before this stage.

    Returns:
        One callback per tracker.
    """
    ours: list[TrainerCallback] = []
    for name in names:
        if name == TENSORBOARD:
            ours.append(TensorBoard(folder / TENSORBOARD, first_step))
        else:
            ours += [RunSteps(made(), first_step) for made in get_reporting_integration_callbacks([name])]
    return ours


class RunSteps(TrainerCallback):
    """Hands a tracker of transformers the steps of the run, where it would begin anew in each stage.

    Only scalars are handed on: uploads of weights look for folders that are not written here.

    Args:
        inner: the tracker's callback.
        first_step: optimiser steps of the run before this stage.
    """

    def __init__(self, inner: TrainerCallback, first_step: int) -> None:
        self.inner = inner
        self.first_step = first_step

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        """Open the tracker."""
        self.inner.on_train_begin(args, self._counted(state), control, **rest)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        """Write the figures of a row."""
        self.inner.on_log(args, self._counted(state), control, **rest)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        """Close the tracker."""
        self.inner.on_train_end(args, self._counted(state), control, **rest)

    def _counted(self, state: TrainerState) -> TrainerState:
        """The trainer's state at the run's step; the trainer's own stays as it is."""
        other = copy.copy(state)
        other.global_step = self.first_step + state.global_step
        return other


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
