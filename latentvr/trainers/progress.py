"""What a person sees while a stage trains: a bar on a terminal, else a line per logged step."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

log = logging.getLogger(__name__)


def wanted(asked: bool) -> bool:
    """Whether a bar is shown: only where it was asked for and a person can see it."""
    return asked and sys.stderr.isatty()


class ProgressReport(TrainerCallback):
    """Reports one stage.

    Args:
        stage: its name.
        steps: its optimiser steps.
        batch: samples per optimiser step over all ranks; the last of an epoch may be smaller.
        bar: draw a bar instead of writing lines.
    """

    def __init__(self, stage: str, steps: int, batch: float, bar: bool) -> None:
        self.stage = stage
        self.steps = steps
        self.batch = batch
        self.bar = bar
        self._live: Progress | None = None
        self._begun = (0.0, 0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock and the bar."""
        del args, control
        self._begun = (time.monotonic(), state.global_step)
        if self.bar and state.is_world_process_zero:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
            )
            self._live = Progress(*columns, console=Console(stderr=True))
            self._live.start()
            self._live.add_task(self.stage, total=self.steps, completed=state.global_step, figures="")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar."""
        del args, control
        if self._live is not None:
            self._live.update(self._live.task_ids[0], completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Show the loss, or the accuracy of a validation."""
        del args, control
        figures = self._figures(state, logs or {})
        if self._live is not None:
            self._live.update(self._live.task_ids[0], figures=figures)
        elif state.is_world_process_zero:
            log.info("%s %d/%d  %s", self.stage, state.global_step, self.steps, figures)

    def _figures(self, state: TrainerState, logs: dict[str, float]) -> str:
        """Name the figures of a row that people watch."""
        if "loss" not in logs:
            return f"validation accuracy {logs.get('validation_accuracy', 0.0):.3f}"
        start, first = self._begun
        speed = (state.global_step - first) * self.batch / max(time.monotonic() - start, 1e-9)
        return f"loss {logs['loss']:.4f}  {speed:.1f} samples/s"

    def close(self) -> None:
        """Take the bar off the terminal, after an error too."""
        if self._live is not None:
            self._live.stop()
            self._live = None
