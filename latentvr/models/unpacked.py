"""Samples that lie end to end, each in a row of its own again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from latentvr.attention.roles import Role

if TYPE_CHECKING:
    from latentvr.reasoners.base import Batch


def unpacked(batch: Batch) -> dict[str, Any]:
    """Give each document of packed rows a row of its own, padded on the right.

    Tokens keep their order, row by row, and so do whatever else is counted through the batch: visual tokens
    and latent slots.

    Args:
        batch: from `collate`, with `documents` (B, S).

    Returns:
        `input_ids`, `roles` (documents, longest) and `position_ids` (3, documents, longest).
    """
    real_BS = torch.ne(batch["roles"], int(Role.PAD))
    rows = torch.arange(len(real_BS), device=real_BS.device).unsqueeze(1).expand_as(real_BS)
    owners = torch.stack([rows[real_BS], batch["documents"][real_BS]])
    lengths = torch.unique_consecutive(owners, dim=1, return_counts=True)[1].tolist()

    def apart(values: Tensor, padding: int) -> Tensor:
        return pad_sequence(list(values.split(lengths)), batch_first=True, padding_value=padding)

    positions = apart(batch["position_ids"][:, real_BS].T, 0)
    return {
        "input_ids": apart(batch["input_ids"][real_BS], 0),
        "roles": apart(batch["roles"][real_BS], int(Role.PAD)),
        "position_ids": positions.permute(2, 0, 1),
    }
