"""Supervised fine-tuning of any method: one trainer per stage, on `transformers.Trainer`.

The reasoner is asked for its losses; the trainer averages each over all its items in an optimiser step,
watches for NaN, saves and validates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerState

from latentvr.config.schema import Recipe
from latentvr.data.collate import collate
from latentvr.data.dataset import EncodedDataset
from latentvr.data.encode import IGNORED
from latentvr.errors import NonFiniteError
from latentvr.models.latent_model import LatentModel
from latentvr.models.weights import load_weights, save_weights
from latentvr.reasoners.base import Stage, Term
from latentvr.trainers import checkpoint
from latentvr.trainers.flow import RunFlow
from latentvr.trainers.metrics_file import MetricsFile
from latentvr.trainers.optimizer import adamw, parameter_groups, scheduler
from latentvr.trainers.order import EpochOrder
from latentvr.trainers.signals import StopRequest


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


@dataclass
class Window:
    """What the micro-batches of one optimiser step gave, for logs and error messages."""

    terms: list[dict[str, Tensor]]
    ids: list[str]


class SFTTrainer(Trainer):
    """Trains one stage.

    Attributes:
        recipe: all settings.
        run: the stage.
        folder: run folder.
        metrics: the run's metrics file.
        stop: a signal to stop, if one came.
    """

    def __init__(
        self,
        model: LatentModel,
        recipe: Recipe,
        run: StageRun,
        folder: Path,
        train: EncodedDataset,
        validate: Callable[[], float] | None,
        stop: StopRequest,
    ) -> None:
        self.recipe = recipe
        self.run = run
        self.folder = folder
        self.metrics = MetricsFile(folder / "metrics.jsonl")
        self.stop = stop
        self._validate = validate
        self._window = Window([], [])
        self._counts: dict[str, Tensor] = {}
        self._order = EpochOrder(len(train), recipe.train.seed, run.index)
        super().__init__(
            model=model,
            args=training_arguments(recipe, run, folder),
            train_dataset=train,
            data_collator=partial(collate, pad_id=model.processor.tokenizer.pad_token_id),
        )
        self.remove_callback(PrinterCallback)
        # Terms are divided by their counts here, over the whole optimiser step.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True
        self.add_callback(RunFlow(self._order, recipe, run, stop, self.updates_per_epoch, validate is not None))

    @property
    def latent_model(self) -> LatentModel:
        """The model, unwrapped."""
        model: LatentModel = self.model
        return model

    @property
    def updates_per_epoch(self) -> int:
        """Optimiser steps in one pass over the data."""
        return updates_per_epoch(len(self._order), self.recipe, self.args.world_size)

    def _get_train_sampler(self, *_: Any) -> EpochOrder:
        return self._order

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build AdamW with the recipe's groups."""
        del model
        groups = parameter_groups(self.latent_model, self.recipe.optim, self.run.learning_rate)
        self.optimizer = adamw(groups, self.recipe.optim)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Build the stage's own warm-up and decay."""
        if self.lr_scheduler is None:
            self.lr_scheduler = scheduler(optimizer or self.optimizer, self.recipe.optim, num_training_steps)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Collect the micro-batches of an optimiser step and count the items of each loss term in them."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counted: dict[str, Tensor] = {}
        for batch in batches:
            found = {"ce": (batch["labels"][:, 1:] != IGNORED).sum()}
            found.update(self.latent_model.reasoner.loss_counts(batch))
            for name, count in found.items():
                counted[name] = counted.get(name, torch.tensor(0.0)) + count
        self._counts = {
            name: self.accelerator.reduce(count.float().to(device), "sum") for name, count in counted.items()
        }
        self._window = Window([], [name for batch in batches for name in batch["sample_ids"]])
        return batches, self._counts.get("ce")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Weighted sum of all terms, each over its count in the optimiser step."""
        del num_items_in_batch
        terms: dict[str, Term] = model(batch=inputs, stage=self.run.stage)
        # Wrappers average gradients over ranks, while the counts are sums over ranks.
        ranks = self.accelerator.num_processes
        means = {k: term.total * ranks / self._counts[k].clamp(min=1) for k, term in terms.items()}
        self._window.terms.append({k: mean.detach() for k, mean in means.items()})
        loss = torch.stack([means[k] * term.weight for k, term in terms.items()]).sum()
        return (loss, terms) if return_outputs else loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self._require_finite(norm)
        return norm

    def _require_finite(self, norm: Tensor | float) -> None:
        """Stop before the weights change when a term or the gradient is not finite."""
        names = [name for name in self._window.terms[0]]
        sums = {name: torch.stack([terms[name] for terms in self._window.terms]).sum() for name in names}
        sums["gradient"] = torch.as_tensor(norm, device=sums[names[0]].device)
        bad = [name for name, value in sums.items() if not bool(torch.isfinite(value))]
        if bad:
            step = self.run.first_step + self.state.global_step + 1
            raise NonFiniteError(
                f"expected finite losses and gradients, got NaN or infinity in {bad[0]!r}, at step {step} of stage "
                f"{self.run.stage.name!r}, samples {', '.join(self._window.ids[:16])}; "
                "fix: look at these samples, or lower optim.learning_rate; the weights were not changed"
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log by the names of the terms, with the run's step and stage, to `metrics.jsonl` too."""
        if "train_runtime" in logs:
            return
        step = self.run.first_step + self.state.global_step
        row: dict[str, Any] = {"step": step, "stage": self.run.stage.name, "epoch": self.state.epoch, **logs}
        if "loss" in logs:
            for name in self._window.terms[0]:
                row[name] = float(torch.stack([terms[name] for terms in self._window.terms]).sum())
            if self.recipe.log.samples:
                row["samples"] = self._window.ids
        if self.is_world_process_zero():
            self.metrics.append(row)
        super().log({k: v for k, v in row.items() if isinstance(v, int | float)}, start_time)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure accuracy on the validation records."""
        assert self._validate is not None  # noqa: S101 - the flow asks only when there is one
        metrics = {"validation_accuracy": self._validate()}
        self.log(dict(metrics))
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any = None) -> bool:
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
        partial = final.with_name(final.name + ".partial")
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            checkpoint.write_aside(partial, self._fill)
        self.accelerator.wait_for_everyone()
        self._save_rng_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            checkpoint.seal(partial)
            if self.state.best_global_step == self.state.global_step and self.run.last and self._validate:
                checkpoint.point(checkpoints, "best", final)
            checkpoint.prune(checkpoints, self.recipe.train.save_limit)

    def _fill(self, partial: Path) -> None:
        """Write what the main process alone writes."""
        save_weights(self.latent_model, partial, self.recipe.model)
        self._save_optimizer_and_scheduler(str(partial))
        self.state.save_to_json(str(partial / "trainer_state.json"))
        done = self.state.global_step >= self.run.steps
        facts = {"stage": self.run.index, "name": self.run.stage.name, "done": done}
        facts["step"] = self.run.first_step + self.state.global_step
        (partial / checkpoint.STATE).write_text(json.dumps(facts) + "\n", encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        del model
        load_weights(self.latent_model, Path(resume_from_checkpoint))


def updates_per_epoch(samples: int, recipe: Recipe, ranks: int = 1) -> int:
    """Optimiser steps in one pass over `samples`; the last of a pass may be smaller."""
    batches = -(-samples // (recipe.train.batch_size * ranks))
    return -(-batches // recipe.train.gradient_accumulation)


def training_arguments(recipe: Recipe, run: StageRun, folder: Path) -> TrainingArguments:
    """Translate the recipe for `transformers.Trainer`; saving and logging are decided by `RunFlow`."""
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=run.steps,
        per_device_train_batch_size=recipe.train.batch_size,
        gradient_accumulation_steps=recipe.train.gradient_accumulation,
        learning_rate=run.learning_rate,
        max_grad_norm=recipe.optim.max_grad_norm,
        seed=recipe.train.seed + run.index,
        bf16=recipe.model.dtype == "bfloat16",
        fp16=recipe.model.dtype == "float16",
        use_cpu=recipe.train.device == "cpu",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=list(recipe.log.trackers) or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=recipe.data.workers,
        dataloader_pin_memory=False,
        average_tokens_across_devices=False,
    )
    args._n_gpu = min(args.n_gpu, 1)  # several GPUs are several processes, never threads of one
    return args


def trainer_state(folder: Path) -> TrainerState:
    """Read the trainer's part of a checkpoint."""
    return TrainerState.load_from_json(str(folder / "trainer_state.json"))
