"""From encoded samples to a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.data.encode import IGNORED, EncodedSample


def collate(
    items: Sequence[EncodedSample | Sequence[EncodedSample]],
    pad_id: int,
    side: Literal["right", "left"] = "right",
) -> dict[str, Any]:
    """Lay the samples of each row end to end, pad rows to the longest and join their images.

    Args:
        items: B samples, or B rows of samples.
        pad_id: token id of the padding.
        side: where the padding goes; left for generation.

    Returns:
        `input_ids`, `labels` (B, S), `roles` int8 (B, S), `position_ids` (3, B, S), `sample_ids` (B names),
        and with images `image_grid_thw` (images, 3) and `pixel_values` (P, values) or `features` (F, N, D).
        With slots that refer to visual tokens also `slots` (R, 2): number of the slot in the batch, and of
        the visual token among those of all prompts and then of all references; with references the same three
        keys with the prefix `reference_`. Rows of samples also give `documents` (B, S), which numbers the
        samples of each row, -1 at padding; whatever else counts samples does so row by row.
    """
    rows = [[item] if isinstance(item, EncodedSample) else list(item) for item in items]
    samples = [sample for row in rows for sample in row]
    batch: dict[str, Any] = {
        "input_ids": _pad([torch.cat([s.ids for s in row]) for row in rows], pad_id, side),
        "labels": _pad([torch.cat([s.labels for s in row]) for row in rows], IGNORED, side),
        "roles": _pad([torch.cat([s.roles for s in row]) for row in rows], int(Role.PAD), side),
        "position_ids": _pad([torch.cat([s.positions for s in row], 1) for row in rows], 0, side)
        .transpose(0, 1)
        .contiguous(),
        "sample_ids": [s.id for s in samples],
    }
    if not all(isinstance(item, EncodedSample) for item in items):
        batch["documents"] = _pad([_numbers(row) for row in rows], -1, side)
    with_images = [s for s in samples if len(s.grid)]
    if with_images:
        batch["image_grid_thw"] = torch.cat([s.grid for s in with_images])
        batch.update(_images([(s.id, s.features, s.pixel_values) for s in with_images], ""))
    beside = [s for s in samples if len(s.reference_grid)]
    if beside:
        batch["reference_image_grid_thw"] = torch.cat([s.reference_grid for s in beside])
        batch.update(
            _images([(s.id, s.reference_features, s.reference_values) for s in beside], "reference_")
        )
    if any(len(s.slots) for s in samples):
        batch["slots"] = _slots(samples)
    return batch


def _numbers(row: Sequence[EncodedSample]) -> Tensor:
    """Number of the sample at each token of a row (S,)."""
    return torch.repeat_interleave(torch.tensor([len(sample.ids) for sample in row]))


def _images(samples: Sequence[tuple[str, Tensor | None, Tensor | None]], prefix: str) -> dict[str, Tensor]:
    """Join cached features (F, N, D), or patches (P, values), of samples (id, features, patches)."""
    features = [cached for _, cached, _ in samples if cached is not None]
    if len(features) == len(samples):
        return {f"{prefix}features": torch.cat(features, 1)}
    if features:
        bare = ", ".join(name for name, cached, _ in samples if cached is None)
        raise ValueError(f"some samples have cached features and others patches: {bare}")
    return {f"{prefix}pixel_values": torch.cat([patches for _, _, patches in samples if patches is not None])}


def _slots(samples: Sequence[EncodedSample]) -> Tensor:
    """Count slots and visual tokens through the batch: those of all prompts, then those of all references."""
    first_beside = sum(sample.visual_tokens for sample in samples)
    out, first_slot, first_inside = [], 0, 0
    for sample in samples:
        count = sample.visual_tokens
        slots, tokens = sample.slots.unbind(1)
        seen = torch.where(tokens < count, tokens + first_inside, tokens - count + first_beside)
        out.append(torch.stack([slots + first_slot, seen], 1))
        first_slot += int(slots.max()) + 1 if len(slots) else 0
        first_inside += count
        first_beside += sample.reference_tokens
    return torch.cat(out)


def _pad(rows: Sequence[Tensor], value: int, side: Literal["right", "left"]) -> Tensor:
    """Pad tensors (..., S_i) with `value` to (B, ..., S)."""
    longest = max(row.shape[-1] for row in rows)
    out = rows[0].new_full((len(rows), *rows[0].shape[:-1], longest), value)
    for i, row in enumerate(rows):
        span = slice(0, row.shape[-1]) if side == "right" else slice(longest - row.shape[-1], longest)
        out[i, ..., span] = row
    return out
