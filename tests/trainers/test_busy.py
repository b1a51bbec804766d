"""What a trainer knows of its batch when memory runs out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from latentvr.config.load import load
from latentvr.errors import OutOfMemory, VisibilityError
from latentvr.runs.sft import build_model
from latentvr.trainers.busy import Busy


def test_packed_rows_are_not_cut_below_their_longest_sample(tmp_path: Path) -> None:
    settings = ["data.packing=true", "data.pack_length=8", "train.batch_size=1"]
    recipe = load(None, [*settings, "model.path=tiny-qwen3-vl", "model.gradient_checkpointing=true"]).recipe
    busy = Busy(build_model(recipe), recipe, "causal", tmp_path)
    batch: dict[str, Any] = {
        "input_ids": torch.zeros(2, 8, dtype=torch.long),
        "labels": torch.zeros(2, 8, dtype=torch.long),
        "documents": torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 1, -1, -1, -1, -1, -1]]),
    }
    busy.at("the forward pass", batch)
    with pytest.raises(OutOfMemory, match=r"fix: set data\.pack_length=5$"), busy.watched():
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_flex_on_a_cpu_is_refused_before_a_model_is_loaded() -> None:
    settings = ["data.packing=true", "model.attention=flex", "train.device=cpu", "model.path=no/such"]
    with pytest.raises(VisibilityError, match=r"^model\.attention: expected .* model\.attention=varlen, or"):
        build_model(load(None, settings).recipe)
