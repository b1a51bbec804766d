"""Features of the frozen vision tower, computed once per sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.config.memory_keys import for_images
from latentvr.data.encode import EncodedSample
from latentvr.models.latent_model import LatentModel
from latentvr.models.out_of_memory import Work, enough_memory, largest

#: Patches that go through the tower at once: about 130 MB of them, 25 images of 900 visual tokens.
PATCHES_AT_ONCE = 1 << 15


@torch.no_grad()
def cache_features(
    model: LatentModel, samples: Sequence[EncodedSample], patches_at_once: int = PATCHES_AT_ONCE
) -> None:
    """Replace the patches of samples by their visual features (F, N, D), kept on the CPU.

    Only for frozen vision towers: the features do not change in training.

    Args:
        model: put into evaluation mode.
        samples: changed in place, references of their slots included; those that have features already are
            left alone.
        patches_at_once: limit of a forward pass; a single larger sample goes alone.
    """
    model.eval()
    prompts = [s for s in samples if s.pixel_values is not None]
    for part, pieces in _encoded(model, prompts, "pixel_values", "grid", patches_at_once):
        for sample, piece in zip(part, pieces, strict=True):
            sample.features, sample.pixel_values = piece, None
    beside = [s for s in samples if s.reference_values is not None]
    for part, pieces in _encoded(model, beside, "reference_values", "reference_grid", patches_at_once):
        for sample, piece in zip(part, pieces, strict=True):
            sample.reference_features, sample.reference_values = piece, None


def lent(model: LatentModel, lender: EncodedSample) -> tuple[Tensor, Tensor] | None:
    """Cached features (F, N, D) and patches (images, 3) of a sample's images, those of latents left out.

    Args:
        model: knows which tokens are visual.
        lender: may have images in the latents' place, which a sample without latents has not.

    Returns:
        What another sample of the same images can take; None where the lender has no features.
    """
    if lender.features is None:
        return None
    visual_S = torch.eq(lender.ids, model.image_token_id)
    kept_N = torch.ne(lender.roles, int(Role.LATENT))[visual_S]
    if bool(kept_N.all()):
        return lender.features, lender.grid
    counts = [model.processor.visual_tokens(row) for row in lender.grid]
    rows = [bool(part[0]) for part in kept_N.split(counts)]
    return lender.features[:, kept_N], lender.grid[torch.tensor(rows)]


def _encoded(
    model: LatentModel, samples: Sequence[EncodedSample], patches: str, grid: str, limit: int
) -> Iterator[tuple[list[EncodedSample], list[Tensor]]]:
    """Encode the pictures in the fields `patches` and `grid`, some samples at a time."""
    device, merge = model.backbone.device, model.processor.image_processor.merge_size**2
    for part in _groups(samples, grid, limit):
        values = torch.cat([getattr(s, patches) for s in part]).to(device)
        grids = torch.cat([getattr(s, grid) for s in part])
        with encoding(model, grids):
            features = model.backbone.encode_images(values, grids.to(device)).cpu()
        counts = [int(getattr(s, grid).prod(-1).sum()) // merge for s in part]
        yield part, [piece.clone() for piece in features.split(counts, dim=1)]


def encoding(model: LatentModel, grids: Tensor) -> AbstractContextManager[None]:
    """Where a lack of memory is told in terms of images, with grids of patches (images, 3)."""
    patches, patch = int(grids.prod(-1).sum()), int(model.processor.image_processor.patch_size)
    work = Work(
        "the encoding of images", f"{len(grids):,} images of {patches:,} patches", largest([grids], patch)
    )
    return enough_memory(work, for_images)


def _groups(samples: Sequence[EncodedSample], grid: str, limit: int) -> Iterator[list[EncodedSample]]:
    """Neighbouring samples with at most `limit` patches together."""
    group: list[EncodedSample] = []
    patches = 0
    for sample in samples:
        count = int(getattr(sample, grid).prod(-1).sum())
        if group and patches + count > limit:
            yield group
            group, patches = [], 0
        group.append(sample)
        patches += count
    if group:
        yield group
