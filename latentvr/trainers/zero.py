"""DeepSpeed's split of one stage's training over the processes: ZeRO stage 2 or 3."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from latentvr.errors import UserError
from latentvr.models.latent_model import LatentModel
from latentvr.models.weights import kind_of
from latentvr.reasoners.base import LatentReasoner, Stage
from latentvr.trainers.zero_optimizer import SplitOptimizer
from latentvr.trainers.zero_weights import collected_weights, keep_whole, undo_split, whole_weights


class NotSplit:
    """What a trainer does with processes that each hold the whole of everything.

    Attributes:
        optimizer: the optimiser, with the state of whole parameters; None where the trainer's own is that.
    """

    optimizer: SplitOptimizer | None = None

    def anchored(self, loss: Tensor) -> Tensor:
        """Give the loss that backward starts from."""
        return loss

    def skipped(self) -> bool:
        """Whether the last optimiser step was left out, as a gradient was not finite."""
        return False

    def whole(self) -> AbstractContextManager[Any]:
        """Hold the whole model in each process, to read it; all processes enter and leave together."""
        return nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        """Use the number formats of training in passes outside the wrapped module."""
        return nullcontext()

    def collected(self, keep: bool) -> AbstractContextManager[Any]:
        """Give one process, which writes a checkpoint, all that goes into it.

        Args:
            keep: whether this process writes.

        Returns:
            A context; the write goes into it.
        """
        del keep
        return nullcontext()

    def release(self) -> None:
        """Leave the model whole in each process, ready for another trainer."""


class Zero(NotSplit):
    """What it has to do otherwise with a DeepSpeed engine; all processes do it together.

    Args:
        engine: of DeepSpeed, around the model.
        model: that trains.
        groups: parameters of the optimiser's groups.
    """

    def __init__(self, engine: Any, model: LatentModel, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        self._engine = engine
        self._model = model
        self._stage = int(engine.zero_optimization_stage())
        self.optimizer: SplitOptimizer = SplitOptimizer(engine, groups)
        if self._stage == 3:
            frozen = [p for p in model.backbone.vision_tower.parameters() if not p.requires_grad]
            keep_whole(engine, [*self._small(), *frozen])

    def _small(self) -> list[nn.Parameter]:
        """Token rows and the method's modules."""
        rows = [] if self._model.rows is None else list(self._model.rows.parameters())
        return [*rows, *self._model.extra.parameters()]

    def anchored(self, loss: Tensor) -> Tensor:
        """Give rows and modules a gradient, of zero, where a batch has no use for them.

        DeepSpeed takes for granted that each process has a gradient for each parameter.
        """
        used = [parameter.sum() for parameter in self._small() if parameter.requires_grad]
        return loss + 0.0 * torch.stack(used).sum() if used else loss

    def skipped(self) -> bool:
        """Whether the engine left out the last optimiser step."""
        return bool(self._engine.optimizer.overflow)

    def whole(self) -> AbstractContextManager[Any]:
        """Gather the weights where they are split."""
        return whole_weights(self._engine) if self._stage == 3 else nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        """Do what the engine does around its own passes."""
        if not self._engine.torch_autocast_enabled():
            return nullcontext()
        return torch.autocast(self._engine.device.type, self._engine.torch_autocast_dtype())

    @contextmanager
    def collected(self, keep: bool) -> Iterator[None]:
        """Gather the optimiser's state, and the weights where they are split.

        Args:
            keep: whether this process writes.

        Yields:
            None: nothing; the write goes into the block.
        """
        self.optimizer.gather(keep)
        if self._stage == 2:
            yield
            return
        wanted = list(self._model.parameters())
        if kind_of(self._model) != "language":
            matrices = (self._model.backbone.embedding_weight, self._model.backbone.untied_head)
            wanted = [p for p in wanted if p.requires_grad or any(p is matrix for matrix in matrices)]
        with collected_weights(self._engine, wanted, keep):
            yield

    def release(self) -> None:
        """End the engine, and make weights whole that are split."""
        if self._stage == 3:
            undo_split(self._engine)
        else:
            self._engine.destroy()


def forget_deepspeed() -> None:
    """Take back what a run leaves in the process, or models that are loaded later would be split at once."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)


def require_even_passes(reasoner: LatentReasoner, stage: Stage) -> None:
    """Refuse training whose number of forward passes follows from the batch, for ZeRO stage 3.

    Args:
        reasoner: the method.
        stage: of the run.

    Raises:
        UserError: samples are fed what the model predicts itself, pass after pass.
    """
    shares = [reasoner.own_share(replace(stage, progress=at)) for at in (0.0, 1.0)]
    if max(shares) > 0:
        raise UserError(
            "expected given slot inputs with ZeRO stage 3, where processes cannot differ in their number of "
            f"passes, got predicted ones, at stage {stage.name!r} of the method; fix: train the method on "
            "given inputs, or use ZeRO stage 2"
        )
