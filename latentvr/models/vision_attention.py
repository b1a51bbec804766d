"""Which attention kernel the vision tower runs, chosen where its device and number format are known."""

from __future__ import annotations

import logging

import torch

from latentvr.attention.flash import flash_attn_installed
from latentvr.errors import ModelError
from latentvr.models.backbone import Backbone

log = logging.getLogger(__name__)
FLASH = "flash_attention_2"


def set_vision_attention(backbone: Backbone, asked: str) -> str:
    """Set the attention kernel of the vision tower; the choice is logged.

    Args:
        backbone: on its device.
        asked: `model.vision_attention`: "auto", "sdpa" or "flash_attention_2".

    Returns:
        The kernel's name.

    Raises:
        ModelError: flash-attn is asked for and cannot be had.
    """
    tower = backbone.vision_tower
    weight = next(tower.parameters())
    chosen = choose_vision_attention(
        asked, weight.device.type, weight.dtype, flash_attn_installed(), bool(tower._supports_flash_attn)
    )
    backbone.model.set_attn_implementation({"vision_config": chosen})
    log.info("vision attention: %s", chosen)
    return chosen


def choose_vision_attention(
    asked: str, device: str, dtype: torch.dtype, installed: bool, supported: bool
) -> str:
    """Choose a kernel.

    Args:
        asked: "auto", "sdpa" or "flash_attention_2".
        device: type of the tower's device.
        dtype: number format of its weights.
        installed: whether flash-attn is there.
        supported: whether the model family takes it.

    Returns:
        "sdpa" or "flash_attention_2".

    Raises:
        ModelError: flash-attn is asked for and cannot be had.
    """
    fits = device == "cuda" and dtype in (torch.float16, torch.bfloat16)
    if asked == "auto":
        return FLASH if fits and installed and supported else "sdpa"
    if asked != FLASH:
        return asked
    where = f"at model.vision_attention={FLASH}"
    if not supported:
        raise ModelError(
            f"expected a model family whose vision tower takes flash-attn, got another, {where}; "
            "fix: set model.vision_attention=sdpa"
        )
    if not installed:
        raise ModelError(
            f"expected the package flash-attn 2, got none, {where}; "
            "fix: pip install flash-attn, or set model.vision_attention=auto"
        )
    if not fits:
        raise ModelError(
            f"expected a vision tower in half precision on CUDA, got {dtype} on {device}, {where}; "
            "fix: set model.dtype=bfloat16 on CUDA, or model.vision_attention=auto"
        )
    return FLASH
