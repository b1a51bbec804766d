"""LLaVA-OneVision-1.5: positions that count in one axis, one feature level."""

from __future__ import annotations

import torch
from torch import Tensor

from latentvr.models.backbone import Backbone


class LlavaOneVision15Backbone(Backbone):
    """Adapter of `LLaVAOneVision1_5_ForConditionalGeneration`.

    Positions have three equal rows, so that batches are of one form for all families; the decoder gets one.
    """

    model_types = ("llavaonevision1_5",)

    def positions(self, ids_BS: Tensor, image_mask_BS: Tensor, grid: Tensor | None) -> Tensor:
        """Count the tokens (3, B, S) of unpadded sequences; visual ones count like text."""
        del image_mask_BS, grid
        return torch.arange(ids_BS.shape[1], device=ids_BS.device).expand(3, *ids_BS.shape).contiguous()

    def rotary_positions(self, positions_3BS: Tensor) -> Tensor:
        """One of the rows (B, S)."""
        return positions_3BS[0]
