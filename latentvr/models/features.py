"""Features of the frozen vision tower, computed once per sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from latentvr.data.encode import EncodedSample
from latentvr.models.latent_model import LatentModel

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
        samples: changed in place; those that have features already are left alone.
        patches_at_once: limit of a forward pass; a single larger sample goes alone.
    """
    model.eval()
    device, merge = model.backbone.device, model.processor.image_processor.merge_size**2
    for part in _groups([s for s in samples if s.pixel_values is not None], patches_at_once):
        patches = torch.cat([s.pixel_values for s in part if s.pixel_values is not None]).to(device)
        grids = torch.cat([s.grid for s in part])
        features = model.backbone.encode_images(patches, grids.to(device)).cpu()
        counts = [int(s.grid.prod(-1).sum()) // merge for s in part]
        for sample, piece in zip(part, features.split(counts, dim=1), strict=True):
            sample.features, sample.pixel_values = piece.clone(), None


def _groups(samples: Sequence[EncodedSample], limit: int) -> Iterator[list[EncodedSample]]:
    """Neighbouring samples with at most `limit` patches together."""
    group: list[EncodedSample] = []
    patches = 0
    for sample in samples:
        count = int(sample.grid.prod(-1).sum())
        if group and patches + count > limit:
            yield group
            group, patches = [], 0
        group.append(sample)
        patches += count
    if group:
        yield group
