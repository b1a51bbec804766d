"""The sizes of a batch that its memory depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentvr.attention.passes import decompose, pass_tokens
from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.data.encode import IGNORED


@dataclass(frozen=True)
class BatchShape:
    """A micro-batch.

    Attributes:
        rows: of the batch.
        tokens: in all rows, padding included.
        labels: positions that predict a label.
        visual: visual tokens, those of references included.
        patches: pixels' patches; 0 where features are cached.
        patch_values: numbers in a patch.
        narrow: tokens of attention's second pass; 0 where one pass is enough.
    """

    rows: int
    tokens: int
    labels: int
    visual: int = 0
    patches: int = 0
    patch_values: int = 0
    narrow: int = 0


def batch_shape(batch: dict[str, Any], visibility: Visibility, kernel: str) -> BatchShape:
    """Read the sizes off a batch.

    Args:
        batch: from `collate`.
        visibility: of the stage.
        kernel: attention kernel.

    Returns:
        Its sizes.
    """
    labels: Tensor = batch["labels"]
    patches = [batch[key] for key in ("pixel_values", "reference_pixel_values") if key in batch]
    features = [batch[key] for key in ("features", "reference_features") if key in batch]
    beside = sum(part.shape[1] for part in features)
    if not features:
        image = torch.eq(batch["roles"], int(Role.IMAGE))
        beside = int(image.sum())
    return BatchShape(
        rows=labels.shape[0],
        tokens=labels.numel(),
        labels=int((labels[:, 1:] != IGNORED).sum()),
        visual=beside,
        patches=sum(part.shape[0] for part in patches),
        patch_values=patches[0].shape[1] if patches else 0,
        narrow=_narrow(batch, visibility) if kernel in ("two_pass", "varlen") else 0,
    )


def _narrow(batch: dict[str, Any], visibility: Visibility) -> int:
    """Tokens of attention's passes after the first, rows padded to the longest."""
    roles: Tensor = batch["roles"]
    rows = roles.shape[0]
    documents = torch.arange(rows)[:, None].expand_as(roles)
    later = (
        pass_tokens(one, roles.cpu(), documents)[0] for one in decompose(visibility, kernel="two_pass")[1:]
    )
    return sum(int(tokens.sum(1).max()) * rows for tokens in later)
