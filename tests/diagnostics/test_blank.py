"""Latents of blank images are those of really blank pictures, put through everything.

Breaks when: a size is taken for another, the text before a span is lost, positions or sight are not those of
decoding, or latents of the true image are mixed in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.rollout import Rollout
from latentvr.diagnostics.blank import GREY, Blank
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.features import cache_features
from latentvr.models.layer_inputs import layer_inputs
from latentvr.reasoners.base import Stage

STEPS = 3
SIZES = [[(64, 64)], [(100, 45), (64, 64)], [], [(64, 64)]]
VISIBILITIES = pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)


def _samples(lab: Any, model: Any, blank: bool) -> list[Any]:
    """Prompts with pictures of several sizes, or none; noise or grey."""
    generator, samples = torch.Generator().manual_seed(0), []
    for i, sizes in enumerate(SIZES):
        record = replace(
            lab.records["one image"], id=str(i), images=tuple(map(str, sizes)), prompt="how many ?" * (i + 1)
        )
        images = []
        for wide, high in sizes:
            noise = torch.randint(256, (high, wide, 3), generator=generator, dtype=torch.uint8)
            grey = Image.new("RGB", (wide, high), (GREY,) * 3)
            images.append(grey if blank else Image.fromarray(noise.numpy()))
        samples.append(encoder_for(model).encode(record, images, with_answer=False))
    cache_features(model, samples)
    return samples


def _written(model: Any, texts: list[list[int]]) -> list[Rollout]:
    """Answers with a span behind some text, or none."""
    width = model.backbone.width
    out = []
    for ids in texts:
        spans = [torch.ones(2, width)] * bool(ids)
        start, slot = (model.token_ids[t] for t in (model.reasoner.span().start, model.reasoner.span().slot))
        behind = [start, slot, slot, 7] if ids else [7]
        slots = [token == slot for token in (*ids, *behind)]
        fed = torch.ones(sum(slots), width)
        out.append(
            Rollout(
                [*ids, *behind], slots, [True] * len(slots), [0.0] * len(slots), fed, spans, fed[:0], "end"
            )
        )
    return out


@VISIBILITIES
@pytest.mark.parametrize("options", [{"latents": 3}, {"image_twice": True}], ids=str)
@torch.no_grad()
def test_slots_of_prompts(lab: Any, family: str, options: Any, visibility: Visibility) -> None:
    model, stage = lab.model(family, "livr", init_std=1.0, **options), Stage("s", visibility)
    made = Blank(model, DecodeConfig()).latents(_samples(lab, model, blank=False), [], stage)
    for sample, found in zip(_samples(lab, model, blank=True), made, strict=True):
        batch, wanted = lab.collated([sample]), list[Tensor]()
        with layer_inputs(model, model.slot_mask(batch), None, wanted):
            model.hidden(batch, model.features(batch), stage)
        assert len(found) == bool(len(wanted[0]))
        for latents in found:
            torch.testing.assert_close(latents, torch.stack(wanted), rtol=1e-4, atol=1e-4)


@VISIBILITIES
@pytest.mark.parametrize("options", [{}, {"head": "mlp"}, {"layout": "A", "end_vector": True}], ids=str)
@torch.no_grad()
def test_the_first_span_of_answers(lab: Any, family: str, options: Any, visibility: Visibility) -> None:
    """By whole forward passes, one for each latent; the text that was written stands before the span."""
    model, stage = lab.model(family, "lvr", **options), Stage("s", visibility)
    texts = [[40, 41], [42], [], [43, 44, 45]]
    written = _written(model, texts)
    decode = DecodeConfig(latent_steps=STEPS, max_new_tokens=4)
    made = Blank(model, decode).latents(_samples(lab, model, blank=False), written, stage)
    start, slot = (model.token_ids[t] for t in (model.reasoner.span().start, model.reasoner.span().slot))
    for sample, text, found in zip(_samples(lab, model, blank=True), texts, made, strict=True):
        if not text:
            assert found == []
            continue
        latents = torch.zeros(0, model.backbone.width)
        for count in range(STEPS):
            slots = [False] * (len(text) + 1) + [True] * count
            whole = lab.collated([lab.went_on(model, sample, [*text, start, *[slot] * count], slots)])
            hidden = model.hidden(whole, model.features(whole), stage, slots=latents if count else None)
            latents = torch.cat([latents, model.reasoner.latent_inputs(hidden[:, -1])])
        torch.testing.assert_close(found, [latents], rtol=1e-3, atol=1e-3)


def test_a_size_is_encoded_once(lab: Any) -> None:
    """And a prompt without images has the latents of its text."""
    model, sizes = lab.model("tiny-qwen3-vl", "livr", latents=2), list[int]()
    samples = _samples(lab, model, blank=False)
    handle = model.backbone.vision_tower.register_forward_pre_hook(
        lambda _, inputs: sizes.append(len(inputs[0]))
    )
    blank = Blank(model, DecodeConfig())
    for _ in range(2):
        blank.latents(samples, [], Stage("s", CAUSAL))
    handle.remove()
    grids = {tuple(row) for sample in samples for row in sample.grid.tolist()}
    assert sorted(sizes) == sorted(t * h * w for t, h, w in grids)
