"""Reordered weights: the same answers, for large matrices alone, and only where it can be done."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from latentvr.attention.visibility import CAUSAL
from latentvr.config.load import load
from latentvr.config.rules import require
from latentvr.config.schema import DecodeConfig, LoraConfig
from latentvr.decoding.loop import generate
from latentvr.errors import ModelError, RecipeError
from latentvr.models.packed import PackedLinear, pack
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 8, 130])
def test_a_packed_layer_gives_the_same(bias: bool, rows: int) -> None:
    linear, states = nn.Linear(300, 257, bias=bias), torch.randn(2, rows, 300)
    with torch.no_grad():
        torch.testing.assert_close(PackedLinear(linear)(states), linear(states), rtol=1e-5, atol=1e-5)


def test_answers_stay_and_small_matrices_too(lab: Any, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lab.model(family, "lvr")
    batch = lab.batch(model, list(lab.records.values()), "left", answer=False)
    decode, stage = DecodeConfig(max_new_tokens=6), Stage("test", CAUSAL)
    before = generate(model, batch, stage, decode)
    assert pack(model) == 0  # all matrices of the tiny families are small
    monkeypatch.setattr("latentvr.models.packed.SMALLEST", 1 << 14)
    count = pack(model)
    assert count >= len(model.backbone.language_model.layers)
    assert sum(isinstance(m, PackedLinear) for m in model.modules()) == count
    assert type(model.backbone.model.lm_head) is nn.Linear
    for row, other in zip(generate(model, batch, stage, decode), before, strict=True):
        assert row.ids == other.ids
        assert row.log_probs == pytest.approx(other.log_probs, abs=1e-4)


def test_adapters_stay_as_they_are(lab: Any, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentvr.models.packed.SMALLEST", 1)
    model = lab.model(family, "lvr")
    set_trainable(model, "lora", LoraConfig(r=4))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.requires_grad_(False)
    batch = lab.batch(model.eval(), [lab.records["one image"]], "left", answer=False)
    before = generate(model, batch, Stage("test", CAUSAL), DecodeConfig(max_new_tokens=4))[0]
    assert pack(model) > 0
    after = generate(model, batch, Stage("test", CAUSAL), DecodeConfig(max_new_tokens=4))[0]
    assert after.log_probs == pytest.approx(before.log_probs, abs=1e-4)
    assert all(type(m) is nn.Linear for n, m in model.named_modules() if n.endswith("lora_A.default"))


def test_other_number_formats_and_training_are_refused(lab: Any) -> None:
    with pytest.raises(
        ModelError, match=r"expected float32 weights on the CPU for model.pack, got .*bfloat16"
    ):
        pack(lab.model("tiny-qwen3-vl").bfloat16())
    with pytest.raises(RecipeError, match=r"model\.pack: expected false in training, got true"):
        require(load(None, ["model.pack=true", "data.source=toy", "data.tasks=[counting]"]))
