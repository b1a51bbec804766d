"""The latents that a model computes where every image is blank, and all else as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.config.schema import DecodeConfig
from latentvr.data.collate import collate
from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.decoding.loop import generate
from latentvr.decoding.rollout import Rollout
from latentvr.diagnostics.recorded import Latents
from latentvr.diagnostics.ways import latents_of
from latentvr.evaluation.evaluate import on_device
from latentvr.models.latent_model import LatentModel
from latentvr.models.prefix import begin, grow
from latentvr.reasoners.base import Stage

#: Sizes of images whose features are kept.
SIZES = 64
#: Every channel of a blank image: middle grey.
GREY = 128


class Blank:
    """Makes latents of blank images.

    Args:
        model: in evaluation mode.
        decode: exit and number of latent steps.
    """

    def __init__(self, model: LatentModel, decode: DecodeConfig) -> None:
        self.model = model
        self.decode = replace(decode, max_new_tokens=decode.latent_steps + 1)
        self._features: dict[tuple[int, ...], Tensor] = {}

    @torch.no_grad()
    def latents(
        self, samples: Sequence[EncodedSample], written: Sequence[Rollout], stage: Stage
    ) -> list[Latents]:
        """Compute them for prompts whose images have cached features.

        Args:
            samples: the prompts.
            written: the model's answers to them, with the true images: their text up to the first latent
                span stands before it here too.
            stage: gives the visibility.

        Returns:
            For each prompt one tensor of latents: (L, K, D) of slots in the prompt, or (n, D) of the first
            span; an empty list where there are none.
        """
        prompts = [self._blank(sample) for sample in samples]
        span = self.model.reasoner.span()
        if span is None:
            prefix = grow(self.model, begin(self.model, self._batch(prompts), stage))
            return [[latents.cpu() for latents in row] for row in latents_of(prefix, written)]
        out: list[Latents] = [[] for _ in samples]
        rows, start = [i for i, row in enumerate(written) if row.spans], self.model.token_ids[span.start]
        if rows:
            opened = [
                self._went_on(prompts[i], written[i].ids[: written[i].ids.index(start) + 1]) for i in rows
            ]
            made = generate(self.model, self._batch(opened), stage, self.decode)
            for i, rollout in zip(rows, made, strict=True):
                out[i] = rollout.cpu().spans[:1]
        return out

    def _batch(self, prompts: Sequence[EncodedSample]) -> dict[str, Any]:
        return on_device(collate(prompts, self.model.processor.tokenizer.pad_token_id, "left"), self.model)

    def _blank(self, sample: EncodedSample) -> EncodedSample:
        """The prompt with blank images of the same sizes."""
        if not len(sample.grid):
            return sample
        parts = [self._of_size(row) for row in sample.grid]
        return replace(sample, features=torch.cat(parts, 1), pixel_values=None)

    def _of_size(self, grid: Tensor) -> Tensor:
        """Features (F, N, D) of one blank image; a size is encoded once."""
        key = tuple(int(n) for n in grid)
        if key not in self._features:
            processor, backbone = self.model.processor, self.model.backbone
            size = int(processor.image_processor.patch_size)
            picture = Image.new("RGB", (key[2] * size, key[1] * size), (GREY, GREY, GREY))
            values, found = processor.encode_images([picture])
            if not torch.equal(found[0], grid):
                # The processor gives this size other patches; a patch of grey is the same anywhere.
                values = values[:1].expand(int(grid.prod()), -1)
            while len(self._features) >= SIZES:
                self._features.pop(next(iter(self._features)))
            self._features[key] = backbone.encode_images(
                values.to(backbone.device), grid[None].to(backbone.device)
            ).cpu()
        return self._features[key]

    def _went_on(self, sample: EncodedSample, ids: list[int]) -> EncodedSample:
        """The prompt with text behind it, at the positions that decoding gives it."""
        markers = self.model.get_buffer("markers").tolist()
        written = torch.tensor(ids, dtype=sample.ids.dtype)
        roles = [int(Role.LATENT if token in markers else Role.ANSWER) for token in ids]
        steps = torch.arange(1, len(ids) + 1, dtype=sample.positions.dtype)
        return replace(
            sample,
            ids=torch.cat([sample.ids, written]),
            roles=torch.cat([sample.roles, torch.tensor(roles, dtype=sample.roles.dtype)]),
            labels=torch.cat([sample.labels, torch.full_like(written, IGNORED)]),
            positions=torch.cat([sample.positions, sample.positions[:, -1:] + steps], 1),
        )
