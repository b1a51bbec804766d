"""Weights in the order that oneDNN multiplies fastest, for answering on a CPU.

A decoding step is made of products of few rows with large matrices, whose usual order does not suit that.
Reordered once, they take less time; how much less is a matter of the machine.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latentvr.errors import ModelError
from latentvr.models.latent_model import LatentModel

#: Matrices with fewer values are left alone: there the call costs more than the product.
SMALLEST = 1 << 16


class PackedLinear(nn.Module):
    """A linear layer with reordered weights, without gradient and without a state to save.

    Args:
        linear: its weights are copied; in float32 on the CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, states: Tensor) -> Tensor:
        """Multiply (..., in) into (..., out)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(states, self.weight, self.bias, "none", [], "")
        return out


def pack(model: LatentModel) -> int:
    """Replace the large linear layers of the language model; it can only answer afterwards.

    Args:
        model: in float32 on the CPU, changed in place.

    Returns:
        Number of layers that were replaced.

    Raises:
        ModelError: the model is elsewhere or in another number format, or this PyTorch cannot do it.
    """
    weight = model.backbone.embedding_weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise ModelError(
            f"expected float32 weights on the CPU for model.pack, got {weight.dtype} on {weight.device}; "
            "fix: set model.dtype=float32 and train.device=cpu, or leave model.pack out"
        )
    if not torch.backends.mkldnn.is_available():
        raise ModelError("expected a PyTorch with oneDNN for model.pack, got one without; fix: leave it out")
    return _pack(model.backbone.language_model)


def _pack(parent: Any) -> int:
    count = 0
    for name, child in parent.named_children():
        # Only the stock layer itself: adapters look into the layers that they wrap.
        if type(child) is nn.Linear and child.weight.numel() >= SMALLEST:
            setattr(parent, name, PackedLinear(child))
            count += 1
        elif "lora_" not in name:
            count += _pack(child)
    return count
