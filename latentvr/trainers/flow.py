"""When to log, validate, save and stop, and the progress bar."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from latentvr.config.schema import Recipe
from latentvr.trainers.order import EpochOrder
from latentvr.trainers.signals import StopRequest


class RunFlow(TrainerCallback):
    """Decides for one stage, in the run's own terms."""

    def __init__(
        self,
        order: EpochOrder,
        recipe: Recipe,
        run: Any,
        stop: StopRequest,
        per_epoch: int | Fraction,
        validates: bool,
    ) -> None:
        self.order = order
        self.recipe = recipe
        self.run = run
        self.stop = stop
        self.per_epoch = per_epoch
        self.validates = validates

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Give the epoch its order."""
        del args, control
        self.order.set_epoch(state.global_step // self.per_epoch)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Log, save, validate or stop after an optimiser step."""
        step, train = state.global_step, self.recipe.train
        stage_ends = step >= self.run.steps
        if step % self.recipe.log.every == 0 or stage_ends:
            control.should_log = True
        control.should_save = _crosses(step, train.save_steps or self.per_epoch) or stage_ends
        validates = self.run.last and self.validates and train.validate_epochs
        if validates and (_crosses(step, self.per_epoch * train.validate_epochs) or stage_ends):
            control.should_evaluate = control.should_save = True
        if self._stop_asked(args):
            control.should_save = control.should_training_stop = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Do nothing twice: all was decided at the step that ended the epoch."""
        del args, state
        control.should_log = control.should_save = control.should_evaluate = False
        return control

    def _stop_asked(self, args: TrainingArguments) -> bool:
        """Tell whether any rank got a signal."""
        asked = self.stop.exit_code is not None
        if args.world_size > 1:
            flag = torch.tensor(float(asked), device=args.device)
            torch.distributed.all_reduce(flag)
            asked = bool(flag > 0)
            if asked and self.stop.exit_code is None:
                self.stop.exit_code = 143
        return asked


def _crosses(step: int, every: int | Fraction) -> bool:
    """Whether a multiple of `every` is reached at a step, or lies between it and the step before."""
    return step // every > (step - 1) // every
