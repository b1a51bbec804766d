"""The tiny model of the family and three images of unlike sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """A stock model and what its image processor makes of three images."""

    model: Any
    processor: Any
    pixel_values: Tensor
    grid: Tensor

    def prompt(self, images: list[int]) -> Tensor:
        """Ids (1, S) of text with placeholders for some of the images."""
        ids = [20, 21]
        for i in images:
            ids += [self.model.config.image_token_id] * (int(self.grid[i].prod()) // 4) + [30 + i]
        return torch.tensor([ids])

    def patches(self, images: list[int]) -> dict[str, Tensor]:
        """Arguments for these images."""
        parts = self.pixel_values.split(self.grid.prod(-1).tolist())
        return {"pixel_values": torch.cat([parts[i] for i in images]), "image_grid_thw": self.grid[images]}


@pytest.fixture
def pictures(lab: Any) -> Pictures:
    model, processor = lab.stock("tiny-llava-ov-1.5")
    images = lab.images(lab.records["three images"])
    images = [images[0], images[1].resize((96, 64)), images[2].resize((32, 64))]
    return Pictures(model.eval(), processor, *processor.encode_images(images))
