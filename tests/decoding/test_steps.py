"""Steps through the layers are calls of the stock text decoder, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

from latentvr.attention.kernels import AttentionInputs
from latentvr.attention.visibility import CAUSAL
from latentvr.decoding.steps import AHEAD, Steps
from latentvr.reasoners.base import Stage


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_steps_are_calls_of_the_decoder(lab: Any, family: str, masked: bool) -> None:
    """Past the point where rotary factors are computed anew; one position off would change everything."""
    model = lab.model(family)
    backbone, batch = model.backbone, lab.batch(model, [lab.interleaved] * 2, "left", answer=False)
    prompt = batch["input_ids"].shape[1]
    stage, ours, theirs = (
        Stage("test", CAUSAL),
        *(DynamicCache(config=backbone.text_config) for _ in range(2)),
    )
    for cache in (ours, theirs):
        model.hidden(batch, model.features(batch), stage, cache)
    positions = batch["position_ids"][..., -1:]
    steps = Steps(backbone, ours, positions)
    generator = torch.Generator().manual_seed(0)
    for step in range(1, AHEAD + 4):
        fed = torch.randn(2, backbone.width, generator=generator)
        mask = torch.rand(2, 1, 1, prompt + step, generator=generator) < 0.7 if masked else None
        found = steps(fed, mask)
        attend = AttentionInputs(mask)
        wanted = backbone.decode(fed[:, None], positions + step, attend, cache=theirs)[:, -1]
        assert torch.equal(found, wanted), f"step {step}"


@torch.no_grad()
def test_factors_that_change_with_the_length_are_left_to_the_decoder(lab: Any) -> None:
    """The same numbers whichever way; only a decoder with ordinary rotary factors is taken apart."""
    model = lab.model("tiny-qwen2.5-vl")
    batch = lab.batch(model, [lab.interleaved], "left", answer=False)
    fed = torch.randn(3, 1, model.backbone.width, generator=torch.Generator().manual_seed(0))
    found = []
    for kind in ("default", "dynamic"):
        cache = DynamicCache(config=model.backbone.text_config)
        model.hidden(batch, model.features(batch), Stage("test", CAUSAL), cache)
        kept = model.backbone.language_model.rotary_emb.rope_type
        model.backbone.language_model.rotary_emb.rope_type = kind
        steps = Steps(model.backbone, cache, batch["position_ids"][..., -1:])
        model.backbone.language_model.rotary_emb.rope_type = kept
        found.append(torch.stack([steps(one, None) for one in fed]))
        assert steps.positions[0, 0, 0] == batch["position_ids"][0, 0, -1] + (
            3 if kind == "dynamic" else AHEAD
        )
    assert torch.equal(*found)
