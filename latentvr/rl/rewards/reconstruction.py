"""Reward for latents that point where the region of interest does.

Shape letters: N visual tokens, D width, F feature levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from latentvr.data.encode import EncodedSample
from latentvr.data.layout import Segment
from latentvr.data.record import Box, Record
from latentvr.data.regions import region_tokens
from latentvr.decoding.rollout import Rollout
from latentvr.errors import RecordError
from latentvr.models.features import cache_features
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.rewards.latents import require_latents


def roi_reconstruction_reward(
    prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
) -> list[float | None]:
    """Cosine between the mean latent and the mean visual token of the record's regions (ReaLVR's measure).

    The regions' tokens are those of the images as they are, even where a method paints regions over in the
    prompt; a token in two boxes counts once. That latents resemble a region does not say that they are used.

    Args:
        prompts: not looked at.
        completions: not looked at: latents are in the rollouts.
        **columns: `context` of the round.

    Returns:
        For each completion a cosine in [-1, 1] of the latents of all its spans, or of the hidden states at
        the latents of its prompt; 0 where it has none, and None where the record has no boxes.

    Raises:
        UserError: the method has no latents, or a box is empty or of an image that is not in the prompt.
    """
    del prompts, completions
    context: RewardContext = columns["context"]
    require_latents(context, "roi_reconstruction")
    regions = _regions(context)
    return [
        _cosine(_latents(context, rollout), regions[record.id]) if record.bboxes else None
        for record, rollout in zip(context.records, context.rollouts, strict=True)
    ]


def _cosine(latents_KD: Tensor, region_D: Tensor) -> float:
    """Cosine of the mean latent and a vector; rounding must not lead out of [-1, 1]."""
    if not len(latents_KD):
        return 0.0
    mean_D = latents_KD.float().mean(0).to(region_D.device)
    return float(functional.cosine_similarity(mean_D, region_D, dim=0).clamp(-1, 1))


def _latents(context: RewardContext, rollout: Rollout) -> Tensor:
    """The latents (K, D) of a completion's spans, or of its prompt with a method that opens none."""
    if context.model.reasoner.span() is None:
        return rollout.prompt_latents
    return torch.cat([rollout.fed[:0], *rollout.spans])


@torch.no_grad()
def _regions(context: RewardContext) -> dict[str, Tensor]:
    """Mean visual token (D) of the regions of each record that has boxes, by its id."""
    pairs = {record.id: (record, sample) for record, sample in
             zip(context.records, context.samples, strict=True) if record.bboxes}  # fmt: skip
    copies = {name: replace(sample) for name, (_, sample) in pairs.items()}
    cache_features(context.model, list(copies.values()))
    return {name: _region(context, record, copies[name]) for name, (record, _) in pairs.items()}


def _region(context: RewardContext, record: Record, sample: EncodedSample) -> Tensor:
    """Mean of the tokens in a record's boxes, in float32 (D)."""
    placed = [part for part in context.model.reasoner.layout(record).user if part.kind == "image"]
    merge = int(context.model.processor.image_processor.merge_size)
    parts = []
    for image in sorted({box.image for box in record.bboxes}):
        boxes = [box for box in record.bboxes if box.image == image]
        place = _place(placed, boxes[0], record)
        tokens_ND = _tokens(context, record, sample, placed, place)
        inside = {token for box in boxes for token in region_tokens(box.box, sample.grid[place], merge)}
        parts.append(tokens_ND[sorted(inside)])
    return torch.cat(parts).float().mean(0)


def _place(placed: Sequence[Segment], box: Box, record: Record) -> int:
    """Place of a box's image among the images of the prompt."""
    for place, part in enumerate(placed):
        if part.image == box.image:
            return place
    raise RecordError(
        f"expected a box of an image of the prompt, got image {box.image}, at record {record.id!r}; "
        "fix: count images from 0"
    )


def _tokens(
    context: RewardContext, record: Record, sample: EncodedSample, placed: Sequence[Segment], place: int
) -> Tensor:
    """Visual tokens (N, D) of one image of the prompt, as it was before anything was painted over."""
    if placed[place].hidden:
        picture = context.source.images(record)[placed[place].image]
        return _encoded(context, picture)
    counts = [context.model.processor.visual_tokens(row) for row in sample.grid]
    features_FND = cast(Tensor, sample.features)  # the caller has cached them
    first = sum(counts[:place])
    return features_FND[0, first : first + counts[place]]


def _encoded(context: RewardContext, picture: Any) -> Tensor:
    """Visual tokens (N, D) of a picture alone."""
    patches, grid = context.model.processor.encode_images([picture])
    device = context.model.backbone.device
    features_FND: Tensor = context.model.backbone.encode_images(patches.to(device), grid.to(device))
    return features_FND[0].cpu()
