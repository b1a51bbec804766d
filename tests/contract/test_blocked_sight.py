"""Point 3: under the bottleneck, with latents left out, the image has no influence on the answer at all.

Not "little": the answer's logits must be the same bits when every pixel changes. The mutations show that the
check can fail: with one blocked pair taken out of the visibility it does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, BOTTLENECK_BLIND_LATENTS, CAUSAL, Visibility
from latentvr.reasoners.base import Stage

SHAPES = ("one image", "two images", "interleaved")


@torch.no_grad()
def _answer_logits(
    model: Any, batch: dict[str, Any], visibility: Visibility, slots: Tensor | None = None
) -> Tensor:
    """Logits that predict the answer's tokens."""
    hidden = model.hidden(batch, model.features(batch), Stage("s", visibility), slots=slots)
    predicts = (batch["roles"] == Role.ANSWER)[:, 1:]
    return model.backbone.logits(hidden[:, :-1][predicts])


def _influence(
    model: Any, batch: dict[str, Any], visibility: Visibility, slots: Tensor | None = None
) -> float:
    """Largest change of an answer logit when all pixels change, those of targets too."""
    generator = torch.Generator().manual_seed(11)
    other = {
        key: torch.randn(value.shape, generator=generator)
        for key, value in batch.items()
        if key.endswith("pixel_values")
    }
    before = _answer_logits(model, batch, visibility, slots)
    return float((_answer_logits(model, {**batch, **other}, visibility, slots) - before).abs().max())


def test_without_latents_the_image_has_no_influence_at_all(lab: Any, shared_model: Any) -> None:
    model = shared_model
    for shape in SHAPES:
        batch = lab.batch(model, [lab.records[shape]], drop=True)
        assert not bool((batch["roles"] == Role.LATENT).any())
        assert _influence(model, batch, BOTTLENECK) == 0.0, shape
        assert _influence(model, batch, CAUSAL) > 1e-3, shape


def test_nor_in_a_padded_batch(lab: Any, shared_model: Any) -> None:
    model = shared_model
    for side in ("right", "left"):
        batch = lab.batch(model, list(lab.records.values()), side, drop=True)
        assert _influence(model, batch, BOTTLENECK) == 0.0, side


@pytest.mark.parametrize("pair", sorted(BOTTLENECK.blocked))
def test_one_pair_less_and_the_image_is_seen(lab: Any, shared_model: Any, pair: tuple[Role, Role]) -> None:
    model = shared_model
    batch = lab.batch(model, [lab.records["one image"]], drop=True)
    leaky = replace(BOTTLENECK, blocked=BOTTLENECK.blocked - {pair})
    assert _influence(model, batch, leaky) > 1e-3


def test_with_latents_the_image_is_seen_through_them(lab: Any, shared_latent_model: Any) -> None:
    model = shared_latent_model
    batch = lab.batch(model, [lab.records["one image"]])
    assert _influence(model, batch, BOTTLENECK) > 1e-3


def test_gradients_of_the_answer_do_not_reach_the_image(lab: Any, shared_model: Any) -> None:
    model = shared_model
    batch = lab.batch(model, [lab.records["two images"]], drop=True)
    features = model.features(batch).requires_grad_(True)
    hidden = model.hidden(batch, features, Stage("s", BOTTLENECK))
    model.backbone.logits(hidden[batch["roles"] == Role.ANSWER]).square().sum().backward()
    assert features.grad is not None
    assert float(features.grad.abs().max()) == 0.0


def test_blind_latents_do_not_see_the_prompt(lab: Any, shared_latent_model: Any) -> None:
    """All words change, images first: their rows would see nothing of the prompt but the turn's header."""
    model = shared_latent_model
    batch = lab.batch(model, [lab.records["one image"]])
    latent, image = batch["roles"] == Role.LATENT, batch["roles"] == Role.IMAGE
    words = (batch["roles"] == Role.PROMPT) & (image.int().cumsum(1) > 0)
    if getattr(model.reasoner.config, "place", "") == "before":
        words = words & (latent.int().cumsum(1) == 0)
    changed = {**batch, "input_ids": torch.where(words, batch["input_ids"] % 256 + 300, batch["input_ids"])}
    assert bool(words.any())

    # Slots in an answer would hear of the prompt from the words between.
    heard = frozenset() if model.reasoner.span() is None else frozenset({(Role.LATENT, Role.ANSWER)})
    blind = replace(BOTTLENECK_BLIND_LATENTS, blocked=BOTTLENECK_BLIND_LATENTS.blocked | heard)

    def change(visibility: Visibility) -> float:
        features, stage = model.features(batch), Stage("s", visibility)
        with torch.no_grad():
            before = model.hidden(batch, features, stage)[latent]
            return float((model.hidden(changed, features, stage)[latent] - before).abs().max())

    assert change(blind) == 0.0
    assert change(BOTTLENECK) > 1e-3


def test_latents_that_are_fed_hide_the_image_where_they_cannot_see_it(
    lab: Any, shared_latent_model: Any
) -> None:
    """What is fed at the slots is held fixed, and the slots' own sight is blocked: nothing is left.

    Without one of the two the pixels are seen: the fed features are made of them.
    """
    model = shared_latent_model
    batch = lab.batch(model, [lab.records["one image"]])
    features, stage = model.features(batch), Stage("s", BOTTLENECK)
    slots = model.reasoner.slot_inputs(batch, features, stage)
    if slots is None:
        pytest.skip("the method feeds rows of the embedding")
    closed = replace(BOTTLENECK, blocked=BOTTLENECK.blocked | {(Role.LATENT, Role.IMAGE)})
    assert _influence(model, batch, closed, slots.detach()) == 0.0
    assert _influence(model, batch, closed) > 1e-3
    assert _influence(model, batch, BOTTLENECK, slots.detach()) > 1e-3
