"""Targets of latent slots, and distances to them (arXiv 2509.24251, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from latentvr.errors import ModelError
from latentvr.reasoners.base import Batch


def region_means(batch: Batch, features_FND: Tensor | None, slots: int) -> Tensor:
    """The visual tokens that the slots of a batch stand for, each slot's mean.

    Args:
        batch: with `slots` (R, 2) from `collate`.
        features_FND: visual features of prompts and references.
        slots: number L of slot tokens in the batch.

    Returns:
        (L, D), in row-major order of the slots.

    Raises:
        ModelError: the batch has slots and refers to another number of them.
    """
    pairs = batch.get("slots")
    if pairs is None or features_FND is None:
        _require_slots(slots, 0)
        return torch.zeros(0, 0)
    owner, token = pairs.unbind(1)
    seen = features_FND[0, token]
    found = int(owner.max()) + 1
    _require_slots(slots, found)
    if len(owner) == slots:
        return seen
    whole = seen.float()  # sums in half precision lose digits
    total = whole.new_zeros(slots, seen.shape[-1]).index_add(0, owner, whole)
    return (total / torch.bincount(owner, minlength=slots).unsqueeze(-1)).to(seen.dtype)


def _require_slots(there: int, referred: int) -> None:
    if there != referred:
        raise ModelError(
            f"expected as many slot tokens as slots with a region, got {there} tokens for {referred} slots, "
            "at the batch; fix: encode the records with this method's own layout"
        )


def distances(predicted: Tensor, target: Tensor, kind: str) -> Tensor:
    """Distance of each latent from its target, in float32.

    Args:
        predicted: (L, D).
        target: (L, D) or (D).
        kind: `mse` and `mae` are means over the D values, `cosine` is 1 minus the cosine.

    Returns:
        (L,).
    """
    predicted, target = predicted.float(), target.float()
    if kind == "cosine":
        return 1 - functional.cosine_similarity(predicted, target.expand_as(predicted), dim=-1)
    difference = predicted - target
    return (difference.abs() if kind == "mae" else difference.square()).mean(-1)
