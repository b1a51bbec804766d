"""Cross-entropy of labelled tokens without the logits of a long batch.

Shape letters: L labelled tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from latentvr.models.scoring import POSITIONS_AT_ONCE

if TYPE_CHECKING:
    from latentvr.models.latent_model import LatentModel


def token_loss(
    model: LatentModel,
    hidden_LD: Tensor,
    ids_L: Tensor,
    suppress: bool,
    positions_at_once: int = POSITIONS_AT_ONCE,
) -> Tensor:
    """Sum of the cross-entropies of tokens.

    Beyond `positions_at_once` the logits are made a part at a time, and again in the backward pass: neither
    their values nor their gradients are ever in memory for all L positions.

    Args:
        model: gives the logits, in float32.
        hidden_LD: hidden states that predict the tokens.
        ids_L: the tokens.
        suppress: give no probability to tokens that are never written.
        positions_at_once: positions in a part.

    Returns:
        The sum, in float32.
    """

    def summed(hidden: Tensor, ids: Tensor) -> Tensor:
        return functional.cross_entropy(model.logits(hidden, suppress), ids, reduction="sum")

    if len(ids_L) <= positions_at_once:
        return summed(hidden_LD, ids_L)
    parts = zip(hidden_LD.split(positions_at_once), ids_L.split(positions_at_once), strict=True)
    if not torch.is_grad_enabled():
        return torch.stack([summed(hidden, ids) for hidden, ids in parts]).sum()
    # Without random numbers in the head there is no state of generators to keep.
    sums = [
        checkpoint(summed, hidden, ids, use_reentrant=False, preserve_rng_state=False)
        for hidden, ids in parts
    ]
    return torch.stack(sums).sum()
