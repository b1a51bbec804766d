"""What every trainer of this library shares: checkpoints, validation, logs, optimiser and schedule.

A trainer runs one stage on `transformers.Trainer`; a subclass says where batches come from and what the
loss is.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from latentvr.config.deepspeed_rules import zero_stage
from latentvr.config.schema import Recipe
from latentvr.errors import SaveError
from latentvr.models.continued import lasting
from latentvr.models.latent_model import LatentModel
from latentvr.models.weights import kind_of, load_weights, save_weights
from latentvr.trainers import checkpoint
from latentvr.trainers.busy import Busy
from latentvr.trainers.finite import Window, require_finite
from latentvr.trainers.flow import RunFlow
from latentvr.trainers.metrics_file import MetricsFile
from latentvr.trainers.optimizer import adamw, parameter_groups, scheduler
from latentvr.trainers.order import EpochOrder
from latentvr.trainers.progress import ProgressReport, wanted
from latentvr.trainers.refused_launch import require_launch
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import StageRun, training_arguments
from latentvr.trainers.trackers import tracker_callbacks
from latentvr.trainers.training_state import load_generators, load_optimizer, save_generators, save_optimizer
from latentvr.trainers.writing import saved_or_told
from latentvr.trainers.zero import NotSplit, Zero, forget_deepspeed, require_even_passes
from latentvr.trainers.zero_settings import deepspeed_settings


class StageTrainer(Trainer):
    """Trains one stage; `metrics` is the run's metrics file.

    Args:
        model: with the stage's trainable parameters set.
        recipe: all settings.
        run: the stage.
        folder: run folder.
        data: what the loader takes its items from.
        collator: makes a batch of items.
        validate: gives the accuracy on the validation records; None trains without.
        stop: a signal to stop, if one came.

    Raises:
        UserError: the launcher has switched on what the recipe does not ask for, or DeepSpeed cannot do it.
    """

    def __init__(
        self,
        model: LatentModel,
        recipe: Recipe,
        run: StageRun,
        folder: Path,
        data: Dataset[Any],
        collator: Callable[[list[Any]], Any],
        validate: Callable[[], float] | None,
        stop: StopRequest,
    ) -> None:
        self.recipe = recipe
        self.run = run
        self.folder = folder
        self.metrics = MetricsFile(folder / "metrics.jsonl")
        self.stop = stop
        self._validate = validate
        self._window = Window([])
        self._split = NotSplit()
        self._busy = Busy(model, recipe, run.stage.name, folder)
        if zero_stage(recipe) == 3:
            require_even_passes(model.reasoner, run.stage)
        args = training_arguments(recipe, run, folder, deepspeed_settings(recipe, model.backbone.width))
        super().__init__(model=model, args=args, train_dataset=data, data_collator=collator)
        require_launch(recipe, deepspeed=self.is_deepspeed_enabled, fsdp=self.is_fsdp_enabled)
        self.remove_callback(PrinterCallback)
        # Subclasses average their losses themselves, over the whole optimiser step.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True

    def _begin(self, order: EpochOrder, per_epoch: int | Fraction, samples_each: float = 1.0) -> None:
        """Add the callbacks: `order` is told of each epoch, which has `per_epoch` optimiser steps.

        An item of a batch holds `samples_each` samples on average.
        """
        recipe, run = self.recipe, self.run
        self.add_callback(RunFlow(order, recipe, run, self.stop, per_epoch, self._validate is not None))
        batch = recipe.train.batch_size * recipe.train.gradient_accumulation * self.args.world_size
        samples = batch * samples_each
        self._report = ProgressReport(run.stage.name, run.steps, samples, wanted(recipe.log.progress))
        self.add_callback(self._report)
        for tracker in tracker_callbacks(recipe.log.trackers, self.folder, run.first_step):
            self.add_callback(tracker)

    @property
    def latent_model(self) -> LatentModel:
        """The model, unwrapped."""
        model: LatentModel = self.model
        return model

    @property
    def _epoch(self) -> float | None:
        """Passes over the data so far."""
        epoch: float | None = self.state.epoch
        return epoch

    def train(self, *args: Any, **settings: Any) -> Any:
        """Train the stage; the progress bar goes, whatever happens."""
        try:
            with self._busy.watched():
                done = super().train(*args, **settings)
            self._split.release()
        finally:
            self._report.close()
            if self.is_deepspeed_enabled:
                forget_deepspeed()
        return done

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *counts: Any) -> torch.Tensor:
        """Forward and backward pass of a micro-batch."""
        self._busy.at("the forward pass", inputs)
        loss: torch.Tensor = super().training_step(model, inputs, *counts)
        return loss

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, checkpoint_folder: Any) -> Any:
        """Wrap the model; with DeepSpeed too, weights are read before that and optimisers after it."""
        folder = None if self.is_deepspeed_enabled else checkpoint_folder
        prepared = super()._prepare_for_training(max_steps, train_dataloader, folder)
        if self.is_deepspeed_enabled:
            self._split = Zero(self.model_wrapped, self.latent_model, self._groups)
            self._load_optimizer_and_scheduler(checkpoint_folder)
        return prepared

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build AdamW with the recipe's groups."""
        del model
        groups = parameter_groups(self.latent_model, self.recipe.optim, self.run.learning_rate)
        self._groups = [list(group["params"]) for group in groups]
        self.optimizer = adamw(groups, self.recipe.optim)
        self.optimizer.register_step_pre_hook(lambda *_: self._busy.at("the optimiser's step"))
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Build the stage's own warm-up and decay."""
        if self.lr_scheduler is None:
            self.lr_scheduler: Any = scheduler(
                optimizer or self.optimizer, self.recipe.optim, num_training_steps
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        step = self.run.first_step + self.state.global_step + 1
        # Under float16 a loss scaler finds infinite gradients, skips the step and lowers its scale.
        judged = norm if self._scaler is None else None
        if self._split.skipped():
            judged = math.inf  # the engine has left out the step
        require_finite(self._window, judged, step, self.run.stage.name)
        return norm

    def _figures(self) -> dict[str, float]:
        """What the logged optimiser step gave, `loss` among it."""
        terms = {k: float(self.accelerator.reduce(v, "mean")) for k, v in self._window.means().items()}
        loss = sum(value * self._window.weights[name] for name, value in terms.items())
        return {"loss": loss, **terms}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log by the names of the terms, with the run's step and stage, to `metrics.jsonl` too.

        `loss` and its terms are those of the logged step: a mean since the last logged one would depend on
        where a resumed run began.
        """
        if "train_runtime" in logs:
            return
        step = self.run.first_step + self.state.global_step
        row: dict[str, Any] = {"step": step, "stage": self.run.stage.name, "epoch": self._epoch, **logs}
        if "loss" in logs:
            row.update(self._figures())
            if self.recipe.log.samples:
                row["samples"] = gather_object(self._window.samples())
        if self.is_world_process_zero():
            self.metrics.append(row)
        super().log({k: v for k, v in row.items() if isinstance(v, int | float)}, start_time)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure accuracy on the validation records."""
        assert self._validate is not None  # noqa: S101 - the flow asks only when there is one
        with self._split.whole():
            metrics = {"validation_accuracy": self._validate()}
        self.log(dict(metrics))
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any = None) -> bool:
        del trial
        accuracy = metrics["validation_accuracy"]
        better = self.state.best_metric is None or accuracy > self.state.best_metric
        if better:
            self.state.best_metric = accuracy
            self.state.best_global_step = self.state.global_step
        return better

    def _save_checkpoint(self, model: nn.Module, trial: Any = None) -> None:
        """Write weights, optimiser, schedule, generators and state aside, then mark them complete."""
        del model, trial
        step = self.run.first_step + self.state.global_step
        checkpoints = self.folder / "checkpoints"
        final = checkpoints / checkpoint.folder_name(step)
        aside = final.with_name(final.name + checkpoint.PARTIAL)
        try:
            with saved_or_told(final):
                self._write(aside)
        except SaveError:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        if self.is_world_process_zero():
            best = self.state.best_global_step
            if best is not None:  # at every save: a kill may have come before an earlier one's link
                checkpoint.link_best(checkpoints, self.run.first_step + best)
            checkpoint.prune(checkpoints, self.recipe.train.save_limit)

    def _write(self, aside: Path) -> None:
        """Write and seal a checkpoint; each rank adds its generators."""
        self.accelerator.wait_for_everyone()
        main = self.is_world_process_zero()
        with self._split.collected(main):
            if main:
                checkpoint.write_aside(aside, self._fill)
        self.accelerator.wait_for_everyone()
        self._fill_rank(aside)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            for file in self._logs():
                if file.exists():
                    checkpoint.flush(file)
            checkpoint.seal(aside)
        self.accelerator.wait_for_everyone()

    def _fill(self, aside: Path) -> None:
        """Write what the main process alone writes."""
        model = self.latent_model
        save_weights(model, aside, lasting(self.recipe.model, kind_of(model) == "language"))
        save_optimizer(aside, self._whole_optimizer, self.lr_scheduler, self._scaler)
        self.state.save_to_json(str(aside / "trainer_state.json"))
        done = self.state.global_step >= self.run.steps
        facts = {"stage": self.run.index, "name": self.run.stage.name, "done": done}
        facts["step"] = self.run.first_step + self.state.global_step
        facts["processes"] = self.args.world_size
        (aside / checkpoint.STATE).write_text(json.dumps(facts) + "\n", encoding="utf-8")

    def _logs(self) -> list[Path]:
        """Files that grow with the run."""
        return [self.metrics.path]

    def _fill_rank(self, aside: Path) -> None:
        """Write what each process adds."""
        save_generators(aside, self.args.process_index)

    @property
    def _whole_optimizer(self) -> Any:
        """The optimiser, with the state of whole parameters."""
        return self._split.optimizer or self.optimizer

    @property
    def _scaler(self) -> Any:
        return getattr(self.accelerator, "scaler", None)

    def _load_optimizer_and_scheduler(self, folder: str | None) -> None:
        if folder is not None:
            load_optimizer(Path(folder), self._whole_optimizer, self.lr_scheduler, self._scaler)

    def _load_scaler(self, folder: str | None) -> None:
        """Do nothing: the scaler was read with the optimiser."""

    def _load_rng_state(self, folder: str | None) -> None:
        if folder is not None:
            load_generators(Path(folder), self.args.process_index)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        del model
        load_weights(self.latent_model, Path(resume_from_checkpoint))
