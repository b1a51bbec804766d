"""The kernel of the vision tower: flash-attn only where it can run, and a sentence where it cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.config.load import load
from latentvr.errors import ModelError
from latentvr.models.vision_attention import choose_vision_attention, set_vision_attention
from latentvr.runs.sft import build_model

HALF, SINGLE = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("asked", "device", "dtype", "installed", "supported", "wanted"),
    [
        ("auto", "cuda", HALF, True, True, "flash_attention_2"),
        ("auto", "cuda", SINGLE, True, True, "sdpa"),
        ("auto", "cpu", HALF, True, True, "sdpa"),
        ("auto", "cuda", HALF, False, True, "sdpa"),
        ("auto", "cuda", HALF, True, False, "sdpa"),
        ("sdpa", "cuda", HALF, True, True, "sdpa"),
        ("flash_attention_2", "cuda", HALF, True, True, "flash_attention_2"),
        ("flash_attention_2", "cuda", HALF, True, False, "whose vision tower takes flash-attn"),
        ("flash_attention_2", "cuda", HALF, False, True, "expected the package flash-attn 2, got none"),
        ("flash_attention_2", "cpu", HALF, True, True, "got torch.bfloat16 on cpu"),
        ("flash_attention_2", "cuda", SINGLE, True, True, "got torch.float32 on cuda"),
    ],
)
def test_the_choice(
    asked: str, device: str, dtype: torch.dtype, installed: bool, supported: bool, wanted: str
) -> None:
    if " " not in wanted:
        assert choose_vision_attention(asked, device, dtype, installed, supported) == wanted
        return
    with pytest.raises(ModelError, match=wanted) as caught:
        choose_vision_attention(asked, device, dtype, installed, supported)
    assert "; fix: " in str(caught.value)


def test_it_is_set_on_the_tower_alone(lab: Any, family: str) -> None:
    model = lab.model(family)
    language = model.backbone.text_config._attn_implementation
    model.base.set_attn_implementation({"vision_config": "eager"})
    assert set_vision_attention(model.backbone, "auto") == "sdpa"
    assert model.backbone.vision_tower.config._attn_implementation == "sdpa"
    assert model.backbone.text_config._attn_implementation == language


def test_a_recipe_that_asks_for_it_here_is_told() -> None:
    settings = ["model.path=tiny-qwen2.5-vl", "model.vision_attention=flash_attention_2", "train.device=cpu"]
    with pytest.raises(ModelError, match=r"^expected the package flash-attn 2, got none, at model\."):
        build_model(load(None, [*settings, "data.source=toy"]).recipe)
