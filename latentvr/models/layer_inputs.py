"""Read and replace hidden states at the inputs of the decoder's layers (activation patching).

Stock layers are left as they are: the hooks are PyTorch's own, and are gone when the block ends.

Shape letters: B batch, T columns of the present forward pass, L layers, R marked positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from latentvr.models.latent_model import LatentModel


@contextmanager
def layer_inputs(
    model: LatentModel, mask_BT: Tensor, given_LRD: Tensor | None = None, found: list[Tensor] | None = None
) -> Iterator[None]:
    """Replace and record what goes into each layer at marked positions, for one forward pass.

    The first layer's input is what is fed; deepstack features that are added between layers come before the
    replacement.

    Args:
        model: its text decoder is run inside the block.
        mask_BT: R positions, in row-major order.
        given_LRD: hidden states that take their place, one (R, D) for each layer; None leaves them.
        found: gets what goes in at the positions, replaced or not: one (R, D) for each layer.

    Yields:
        None: the hooks are in place.

    Raises:
        ValueError: `given_LRD` is not of as many layers or positions.
    """
    layers, count = list(model.backbone.language_model.layers), int(mask_BT.sum())
    if given_LRD is not None and given_LRD.shape[:2] != (len(layers), count):
        raise ValueError(
            f"expected hidden states for {len(layers)} layers and {count} positions, "
            f"got {tuple(given_LRD.shape[:2])}, at layer_inputs; fix: give one for each"
        )
    handles = [
        layer.register_forward_pre_hook(_hook(mask_BT, None if given_LRD is None else given_LRD[i], found))
        for i, layer in enumerate(layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(
    mask_BT: Tensor, given_RD: Tensor | None, found: list[Tensor] | None
) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        hidden_BTD, *others = inputs
        if given_RD is not None:
            hidden_BTD = hidden_BTD.masked_scatter(mask_BT.unsqueeze(-1), given_RD.to(hidden_BTD))
        if found is not None:
            found.append(hidden_BTD[mask_BT].clone())
        return (hidden_BTD, *others)

    return hook
