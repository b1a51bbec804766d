"""Supervised fine-tuning of any method: one trainer per stage, on `transformers.Trainer`.

The reasoner is asked for its losses; the trainer averages each over all its items in an optimiser step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from latentvr.config.schema import Recipe
from latentvr.data.collate import collate
from latentvr.data.dataset import EncodedDataset
from latentvr.data.encode import IGNORED
from latentvr.data.loader_errors import ErrorOrBatch, ErrorsAsValues, raised
from latentvr.data.packing import PackedDataset
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Term
from latentvr.trainers.base import StageTrainer
from latentvr.trainers.finite import Window
from latentvr.trainers.order import EpochOrder
from latentvr.trainers.signals import DeafWorker, StopRequest
from latentvr.trainers.stage import StageRun, updates_per_epoch


class SFTTrainer(StageTrainer):
    """Trains one stage on records with answers.

    Args:
        model: with the stage's trainable parameters set.
        recipe: all settings.
        run: the stage.
        folder: run folder.
        train: encoded training records, or rows of them.
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
        train: EncodedDataset | PackedDataset,
        validate: Callable[[], float] | None,
        stop: StopRequest,
    ) -> None:
        self._counts: dict[str, Tensor] = {}
        self._order = EpochOrder(len(train), recipe.train.seed, run.index)
        collator = partial(collate, pad_id=model.processor.tokenizer.pad_token_id)
        items = ErrorsAsValues(train)
        super().__init__(model, recipe, run, folder, items, ErrorOrBatch(collator), validate, stop)
        samples = len(train.data) if isinstance(train, PackedDataset) else len(train)
        self._begin(self._order, self.updates_per_epoch, samples / len(train))

    @property
    def updates_per_epoch(self) -> int:
        """Optimiser steps in one pass over the data."""
        return updates_per_epoch(len(self._order), self.recipe, self.args.world_size)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Build the loader; its processes leave signals to this one."""
        loader: DataLoader[Any] = super().get_train_dataloader()
        inner = getattr(loader, "base_dataloader", loader)  # the one that accelerate iterates over
        inner.worker_init_fn = DeafWorker(inner.worker_init_fn)
        return loader

    def _get_train_sampler(self, *_: Any) -> EpochOrder:
        return self._order

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Collect the micro-batches of an optimiser step and count the items of each loss term in them."""
        batches, _ = super().get_batch_samples(raised(epoch_iterator), num_batches, device)
        counted: dict[str, Tensor] = {}
        for batch in batches:
            found = {"ce": (batch["labels"][:, 1:] != IGNORED).sum()}
            found.update(self.latent_model.reasoner.loss_counts(batch))
            for name, count in found.items():
                counted[name] = counted.get(name, torch.tensor(0.0)) + count
        self._counts = {
            name: self.accelerator.reduce(count.float().to(device), "sum") for name, count in counted.items()
        }
        self._window = Window([batch["sample_ids"] for batch in batches])
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
        stage = replace(self.run.stage, progress=self.state.global_step / self.run.steps)
        terms: dict[str, Term] = model(batch=inputs, stage=stage)
        # Wrappers average gradients over ranks, while the counts are sums over ranks.
        ranks = self.accelerator.num_processes
        means = {k: term.total * ranks / self._counts[k].clamp(min=1) for k, term in terms.items()}
        self._window.terms.append({k: mean.detach() for k, mean in means.items()})
        self._window.weights = {k: term.weight for k, term in terms.items()}
        loss = torch.stack([means[k] * term.weight for k, term in terms.items()]).sum()
        loss = self._split.anchored(loss)
        self._busy.at("the backward pass")
        return (loss, terms) if return_outputs else loss
