"""From encoded samples to a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.data.encode import IGNORED, EncodedSample


def collate(
    samples: Sequence[EncodedSample], pad_id: int, side: Literal["right", "left"] = "right"
) -> dict[str, Any]:
    """Pad samples to the longest and join their images.

    Args:
        samples: B samples.
        pad_id: token id of the padding.
        side: where the padding goes; left for generation.

    Returns:
        `input_ids`, `labels` (B, S), `roles` int8 (B, S), `position_ids` (3, B, S), `sample_ids` (B names),
        and with images `image_grid_thw` (images, 3) and `pixel_values` (P, values) or `features` (F, N, D).
    """
    batch: dict[str, Any] = {
        "input_ids": _pad([s.ids for s in samples], pad_id, side),
        "labels": _pad([s.labels for s in samples], IGNORED, side),
        "roles": _pad([s.roles for s in samples], int(Role.PAD), side),
        "position_ids": _pad([s.positions for s in samples], 0, side).transpose(0, 1).contiguous(),
        "sample_ids": [s.id for s in samples],
    }
    with_images = [s for s in samples if len(s.grid)]
    if with_images:
        batch["image_grid_thw"] = torch.cat([s.grid for s in with_images])
        batch.update(_images(with_images))
    return batch


def _images(samples: Sequence[EncodedSample]) -> dict[str, Tensor]:
    """Join cached features (F, N, D), or patches (P, values), of samples with images."""
    features = [s.features for s in samples if s.features is not None]
    if len(features) == len(samples):
        return {"features": torch.cat(features, 1)}
    if features:
        bare = ", ".join(s.id for s in samples if s.features is None)
        raise ValueError(f"some samples have cached features and others patches: {bare}")
    return {"pixel_values": torch.cat([s.pixel_values for s in samples if s.pixel_values is not None])}


def _pad(rows: Sequence[Tensor], value: int, side: Literal["right", "left"]) -> Tensor:
    """Pad tensors (..., S_i) with `value` to (B, ..., S)."""
    longest = max(row.shape[-1] for row in rows)
    out = rows[0].new_full((len(rows), *rows[0].shape[:-1], longest), value)
    for i, row in enumerate(rows):
        span = slice(0, row.shape[-1]) if side == "right" else slice(longest - row.shape[-1], longest)
        out[i, ..., span] = row
    return out
