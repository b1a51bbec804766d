"""Features of the frozen vision tower, computed once per sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from latentvr.data.encode import EncodedSample
from latentvr.models.latent_model import LatentModel


@torch.no_grad()
def cache_features(model: LatentModel, samples: Sequence[EncodedSample], batch_size: int = 64) -> None:
    """Replace the patches of samples by their visual features (F, N, D), kept on the CPU.

    Only for frozen vision towers, which is every tower here: the features do not change in training.
    """
    waiting = [s for s in samples if s.pixel_values is not None]
    model.eval()
    device, merge = model.backbone.device, model.processor.image_processor.merge_size**2
    for start in range(0, len(waiting), batch_size):
        part = waiting[start : start + batch_size]
        patches = torch.cat([s.pixel_values for s in part if s.pixel_values is not None]).to(device)
        grids = torch.cat([s.grid for s in part])
        features = model.backbone.encode_images(patches, grids.to(device)).cpu()
        counts = [int(s.grid.prod(-1).sum()) // merge for s in part]
        for sample, piece in zip(part, features.split(counts, dim=1), strict=True):
            sample.features, sample.pixel_values = piece.clone(), None
