"""The weights at the start of a run, kept beside those that train: the reference of the divergence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor

from latentvr.models.latent_model import LatentModel


class Reference:
    """Copies of all that trains; frozen weights are shared with the policy.

    Adapters that begin with the run need no copy: without them the model is what it was.

    Args:
        model: as it is at the start of the run, with the parameters set that will train.
        new_adapters: whether its adapters begin with the run.
    """

    def __init__(self, model: LatentModel, new_adapters: bool) -> None:
        self._model = model
        self._without_adapters = new_adapters
        self._kept: dict[str, Tensor] = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and not (new_adapters and "lora_" in name)
        }

    @property
    def parameters(self) -> int:
        """Number of values that are kept twice."""
        return sum(tensor.numel() for tensor in self._kept.values())

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the reference's weights into the model; leave it as it was afterwards. Not for training."""
        base: Any = self._model.base
        self._swap()
        try:
            with base.disable_adapter() if self._without_adapters else nullcontext():
                yield
        finally:
            self._swap()

    def _swap(self) -> None:
        """Exchange the weights: pointers, not values."""
        for name, parameter in self._model.named_parameters():
            if name in self._kept:
                kept = self._kept[name].to(parameter.device)
                self._kept[name], parameter.data = parameter.data, kept
