"""Memory that tensors take: counted on tensors without storage, or asked of CUDA's allocator."""

from __future__ import annotations

import gc
import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latentvr.models.latent_model import LatentModel


class Alive(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.most = 0
        self._sizes: dict[int, int] = {}

    def count(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.bytes += storage.nbytes()
            self.most = max(self.most, self.bytes)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.bytes -= self._sizes.pop(key)

    def __torch_dispatch__(
        self, call: Any, kinds: Any, values: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it gives."""
        if call is torch.ops.aten.index.Tensor:
            # A tensor without storage can be asked for places, not for the places of a mask.
            places = [[i] if i is None or i.dtype != torch.bool else i.nonzero().unbind(1) for i in values[1]]
            values = (values[0], [i for part in places for i in part])
        out = call(*values, **(named or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return out


class OnCPU:
    """Measures on tensors without storage."""

    def __init__(self) -> None:
        self._alive = Alive()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)

    def prepare(self, model: LatentModel) -> None:
        """Replace all parameters by ones without storage."""
        made: dict[int, nn.Parameter] = {}
        for module in model.modules():
            for name, old in module._parameters.items():
                if old is None:
                    continue
                if id(old) not in made:
                    with self._fake:
                        empty = torch.empty(old.shape, dtype=old.dtype, device="cpu")
                    made[id(old)] = nn.Parameter(empty, requires_grad=old.requires_grad)
                    self._alive.count(made[id(old)])
                module._parameters[name] = made[id(old)]
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.is_meta:
                    module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)

    def watched(self) -> AbstractContextManager[Any]:
        """Where operations are counted."""
        return self._alive

    def now(self) -> int:
        """Bytes that are alive."""
        return self._alive.bytes

    def most(self) -> int:
        """Most bytes since the last call."""
        found, self._alive.most = self._alive.most, self._alive.bytes
        return found

    def count(self, batch: dict[str, Any]) -> None:
        """Count what was made elsewhere."""
        for value in batch.values():
            if isinstance(value, Tensor):
                self._alive.count(value)


class OnGPU:
    """Measures what PyTorch's allocator gives out; what an earlier model left is freed first."""

    def __init__(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()

    def prepare(self, model: LatentModel) -> None:
        """Do nothing: the model is there."""

    def watched(self) -> AbstractContextManager[Any]:
        """Where operations are counted."""
        return nullcontext()

    def now(self) -> int:
        """Bytes that are allocated."""
        return torch.cuda.memory_allocated()

    def most(self) -> int:
        """Most bytes since the last call."""
        found = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return found

    def count(self, batch: dict[str, Any]) -> None:
        """Do nothing: it is counted."""
