"""A checkpoint answers on machines without the vision kernel of its training, unless that is asked for.

Breaks when: answering takes `model.vision_attention` from the checkpoint's card, or is silent about it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentvr.errors import ModelError
from latentvr.models.weights import save_weights
from latentvr.runs.inference import load_found


def test_flash_attention_of_the_training_is_not_asked_for(
    lab: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = lab.model("tiny-qwen2.5-vl", "livr", latents=2)
    settings = replace(lab.settings("tiny-qwen2.5-vl"), vision_attention="flash_attention_2")
    save_weights(model, tmp_path, settings)
    caplog.set_level(logging.INFO)
    found = load_found(tmp_path, tmp_path, "cpu", {})
    assert found.backbone.vision_tower.config._attn_implementation == "sdpa"
    assert "vision attention: trained with flash_attention_2, answering with sdpa" in caplog.text
    with pytest.raises(ModelError, match="expected the package flash-attn 2, got none"):
        load_found(tmp_path, tmp_path, "cpu", {"vision_attention": "flash_attention_2"})
