"""Adapters sit on the language model alone, and `language` keeps what adapters learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import LoraConfig, ModelConfig
from latentvr.errors import RecipeError
from latentvr.models.trainable import count_parameters, set_trainable
from latentvr.models.weights import load_weights, save_weights
from latentvr.reasoners.base import Stage

LORA = LoraConfig(r=4, alpha=8, dropout=0.0)
LAYERS, MATRICES = 4, 7


def test_adapters_are_on_every_linear_layer_of_the_language_model_alone(lab: Any, family: str) -> None:
    model = lab.model(family)
    set_trainable(model, "lora", LORA)
    adapted = {n.rpartition(".lora_A")[0] for n, _ in model.named_modules() if n.endswith("lora_A.default")}
    assert len(adapted) == LAYERS * MATRICES
    assert all(".language_model.layers." in name for name in adapted)


def test_the_vision_tower_shares_names_of_layers(lab: Any) -> None:
    """Why the pattern names the language model: these names alone would also catch the tower."""
    visual = lab.stock("tiny-qwen2.5-vl")[0].model.visual
    tower = {name.rpartition(".")[2] for name, _ in visual.named_modules()}
    assert tower & set(LoraConfig().modules) == {"gate_proj", "up_proj", "down_proj"}


def test_only_the_layers_asked_for(lab: Any, family: str) -> None:
    model = lab.model(family)
    set_trainable(model, "lora", LoraConfig(r=2, modules=["q_proj", "v_proj"]))
    assert sum(n.endswith("lora_A.default") for n, _ in model.named_modules()) == LAYERS * 2
    assert count_parameters(model)[1] == LAYERS * 2 * (128 + 128) + LAYERS * 2 * (128 + 64)


@torch.no_grad()
def test_from_adapters_to_the_language_model_nothing_is_lost(lab: Any, family: str) -> None:
    model, generator = lab.model(family, "livr", latents=2), torch.Generator().manual_seed(0)
    batch, stage = lab.batch(model, [lab.records["one image"]]), Stage("s", CAUSAL)
    plain = model.hidden(batch, model.features(batch), stage)
    set_trainable(model, "lora", LORA)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    adapted = model.hidden(batch, model.features(batch), stage)
    set_trainable(model, "language", LORA)
    merged = model.hidden(batch, model.features(batch), stage)
    assert not isinstance(model.base, PeftModel)
    assert [n for n, _ in model.named_parameters() if "lora" in n] == []
    assert model.base is model.backbone.model
    assert float((adapted - plain).abs().max()) > 1e-2
    assert float((adapted - merged).abs().max()) < 1e-4


@torch.no_grad()
def test_merging_into_half_precision_keeps_what_adapters_learned(lab: Any, family: str) -> None:
    """In bfloat16 a weight has 8 bits: a merged difference would be rounded to what is left of them."""
    model, generator = lab.model(family).to(torch.bfloat16), torch.Generator().manual_seed(0)
    set_trainable(model, "lora", LORA)
    layers = {n: m for n, m in model.backbone.language_model.named_modules() if hasattr(m, "lora_A")}
    before, learned = {}, {}
    for name, layer in layers.items():
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert {down.dtype, up.dtype} == {torch.float32}
        up.copy_(torch.randn(up.shape, generator=generator) * 1e-3)
        before[name] = layer.base_layer.weight.float()
        learned[name] = up @ down * LORA.alpha / LORA.r
    set_trainable(model, "language", LORA)
    for name, wanted in learned.items():
        found = model.backbone.language_model.get_submodule(name).weight - before[name]
        assert float((found - wanted).norm() / wanted.norm()) < 1e-3, name


@pytest.mark.parametrize("before", ["language", "lora"])
def test_all_trains_everything_in_float32(lab: Any, family: str, before: Any) -> None:
    model = lab.model(family, "livr", latents=2)
    model.base.to(torch.bfloat16)  # token rows are in float32 from the start
    set_trainable(model, before, LORA)
    set_trainable(model, "all", LORA)
    assert not isinstance(model.base, PeftModel)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == []
    batch = lab.batch(model, [lab.records["two images"]])
    model(batch, Stage("s", CAUSAL))["ce"].total.backward()
    tower = dict(model.backbone.vision_tower.named_parameters())
    assert [name for name, p in tower.items() if p.grad is None or not p.grad.any()] == []


def test_features_of_a_frozen_tower_keep_no_gradients(lab: Any, family: str) -> None:
    model = lab.model(family)
    batch = lab.batch(model, [lab.records["one image"]])
    for kind, keeps in (("language", False), ("all", True), ("language", False)):
        set_trainable(model, kind, LORA)
        assert model.features(batch).requires_grad is keeps
        with torch.no_grad():
            assert not model.features(batch).requires_grad


def test_a_tied_head_trains_once_with_the_embedding(lab: Any, family: str) -> None:
    model = lab.model(family)
    set_trainable(model, "language", LORA)
    assert model.base.lm_head.weight is model.backbone.embedding_weight
    trains = [n for n, p in model.named_parameters() if p.requires_grad]
    assert sum("embed_tokens" in n or "lm_head" in n for n in trains) == 1
    assert not any("visual" in n for n in trains)


def test_a_language_model_of_half_precision_trains_in_float32(lab: Any, family: str) -> None:
    model = lab.model(family).to(torch.bfloat16)
    set_trainable(model, "language", LORA)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.backbone.vision_tower.parameters()} == {torch.bfloat16}


def test_nothing_to_train_is_refused(lab: Any, family: str) -> None:
    with pytest.raises(RecipeError) as error:
        set_trainable(lab.model(family), "tokens", LORA)
    assert str(error.value) == (
        "expected something to train, got nothing, at optim.trainable=tokens: the method has no token rows; "
        "fix: use optim.trainable=lora or language"
    )


def test_modules_without_tokens_are_saved_and_loaded(lab: Any, family: str, tmp_path: Path) -> None:
    """`tokens` trains the modules alone then; there are no rows to write."""
    model, other = lab.model(family), lab.model(family)
    for one in (model, other):
        one.extra["head"] = torch.nn.Linear(4, 4)
    set_trainable(model, "tokens", LORA)
    save_weights(model, tmp_path, ModelConfig(path=family))
    load_weights(other, tmp_path)
    assert torch.equal(other.extra["head"].weight, model.extra["head"].weight)
