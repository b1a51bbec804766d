"""Scores of written tokens against the formulas, on batches laid out by hand.

What they are on real rollouts is a matter of the contract. Breaks when: temperature or suppression is left
out of entropies, latents get a gradient nobody asked for, a learned noise is not that of sampling, or a
kernel sees something else.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import DecodeConfig, LoraConfig
from latentvr.data.encode import IGNORED
from latentvr.data.layout import Layout, NewToken, Segment
from latentvr.data.record import Record
from latentvr.decoding.loop import generate
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import family as family_of
from latentvr.models.scoring import Scores, Scoring, replayed_slots
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Batch, Stage
from latentvr.reasoners.registry import config_class, reasoner_class
from latentvr.rl.replay import replay_batch

STAGE = Stage("s", CAUSAL)
DECODE = DecodeConfig(max_new_tokens=8, latent_steps=3, do_sample=True, temperature=0.9)


def _round(lab: Any, model: Any, stage: Stage = STAGE, **named: Any) -> dict[str, Any]:
    """Two completions of two prompts; the first prompt ends with the start marker of a span."""
    span = model.reasoner.span()
    prompts = lab.prompts(model, [*lab.records.values()][:2], [span.start if span else "", ""])
    rows = generate(model, lab.collated(prompts), stage, DECODE, rollouts=2, **named)
    return replay_batch(model, [p for p in prompts for _ in range(2)], rows)


@torch.no_grad()
def _logits(model: Any, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Logits (L, V) of all labelled places, and the labels."""
    features = model.features(batch)
    slots = replayed_slots(model, batch, features, STAGE)
    hidden = model.hidden(batch, features, STAGE, slots=slots)
    labels = batch["labels"][:, 1:]
    return model.logits(hidden[:, :-1][labels != IGNORED], suppress=False), labels[labels != IGNORED]


@pytest.mark.parametrize("suppress", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probs_and_entropies(lab: Any, family: str, temperature: float, suppress: bool) -> None:
    model = lab.model(family, "lvr")
    batch = _round(lab, model)
    logits, labels = _logits(model, batch)
    if suppress:
        logits[:, model.get_buffer("excluded")] = float("-inf")
    every = torch.distributions.Categorical(logits=(logits / temperature).double())
    with torch.no_grad():
        scores: Scores = model(batch, STAGE, Scoring(temperature, suppress))
    assert torch.allclose(scores.log_probs_L.double(), every.log_prob(labels), atol=1e-5)
    probs = every.probs
    assert torch.allclose(scores.entropies_L.double(), torch.special.entr(probs).sum(-1), atol=1e-5)
    assert scores.log_probs_L.dtype == scores.means_RD.dtype == torch.float32


@pytest.mark.parametrize("latents", [True, False])
def test_latents_have_gradient_where_it_is_asked_for(lab: Any, family: str, latents: bool) -> None:
    """Entropies never have one; the head of the method gets one from its latents alone."""
    model = lab.model(family, "lvr", head="mlp")
    batch = _round(lab, model)
    set_trainable(model, "language", LoraConfig())
    scores: Scores = model(batch, STAGE, Scoring(latents=latents))
    assert scores.means_RD.requires_grad == latents
    assert not scores.entropies_L.requires_grad
    scores.log_probs_L.sum().backward(retain_graph=True)
    head = [*model.reasoner.head.parameters()]
    assert all(parameter.grad is None for parameter in head)
    if latents:
        scores.means_RD.sum().backward()
        assert any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in head)


def test_learned_noise_is_that_of_the_rollouts(lab: Any, family: str) -> None:
    """What was fed is the mean plus the deviation times what was drawn, place by place."""
    model = lab.model(family, "lvr", noise=0.05)
    with torch.no_grad():
        for name, parameter in model.reasoner.noise.named_parameters():
            if name.endswith("weight"):
                torch.nn.init.normal_(parameter, std=0.02, generator=torch.Generator().manual_seed(1))
    drawn = torch.randn(model.backbone.width, generator=torch.Generator().manual_seed(0))
    batch = _round(
        lab, model, perturb=lambda latents, hidden: latents + drawn * model.reasoner.latent_deviations(hidden)
    )  # fmt: skip
    with torch.no_grad():
        scores: Scores = model(batch, STAGE, Scoring())
    assert scores.deviations is not None
    assert scores.deviations.shape == scores.means_RD.shape
    assert len(batch["recorded"]) >= 6
    assert float(scores.deviations.std(0).max()) > 1e-3
    apart = batch["recorded"] - scores.means_RD - drawn * scores.deviations
    assert float(apart.abs().max()) < 1e-4


@pytest.mark.parametrize("kernel", ["two_pass", "varlen"])
@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_kernels_give_the_same(lab: Any, family: str, kernel: str, visibility: Any) -> None:
    stage = Stage("s", visibility)
    model = lab.model(family, "lvr")
    batch = _round(lab, model, stage)
    with torch.no_grad():
        wanted: Scores = model(batch, stage, Scoring())
        found: Scores = lab.model(family, "lvr", kernel)(batch, stage, Scoring())
    assert torch.allclose(found.log_probs_L, wanted.log_probs_L, atol=1e-4)
    assert torch.allclose(found.means_RD, wanted.means_RD, atol=1e-4)


def test_completions_without_latents_ask_the_method_as_ever(lab: Any, family: str) -> None:
    model = lab.model(family, "livr", latents=4)
    batch = _round(lab, model)
    assert batch["recorded"].shape == (0, model.backbone.width)
    assert replayed_slots(model, batch, model.features(batch), STAGE) is None
    with torch.no_grad():
        scores: Scores = model(batch, STAGE, Scoring())
        terms = model(batch, STAGE)
    assert scores.means_RD.shape == (0, model.backbone.width)
    assert float(terms["ce"].total) == pytest.approx(-float(scores.log_probs_L.sum()), rel=1e-5)


def test_without_scoring_the_forward_is_that_of_training(lab: Any, family: str) -> None:
    model = lab.model(family, "lvr")
    batch = lab.batch(model, [lab.records["one image"]])
    assert set(model(batch, STAGE)) == {"ce", "lvr"}


def _both(lab: Any, family: str) -> Any:
    """A method with spans whose prompts have two slots as well, fed the number of their row."""

    class Both(reasoner_class("lvr")):  # type: ignore[misc]
        def tokens(self) -> list[NewToken]:
            return [*super().tokens(), NewToken("<|hint|>")]

        def layout(self, record: Record) -> Layout:
            layout = super().layout(record)
            return Layout((*layout.user, Segment("tokens", "<|hint|><|hint|>")), layout.answer)

        def slot_inputs(self, batch: Batch, features_FND: Tensor | None, stage: Stage) -> Tensor:
            del features_FND, stage
            number = 1.0 + model.slot_mask(batch).nonzero()[:, 0]
            return (number / 10).unsqueeze(-1).expand(-1, model.backbone.width)

    stock, processor = lab.stock(family)
    backbone = family_of(stock.config.model_type, family)(stock, "mask")
    model = LatentModel(backbone, Both(config_class("lvr")(name="lvr")), processor, seed=3)
    return model.requires_grad_(False).eval()


@pytest.mark.parametrize("side", ["right", "left"])
def test_prompts_and_completions_may_both_have_latents(lab: Any, family: str, side: Any) -> None:
    """The method is asked about the prompts alone."""
    model = _both(lab, family)
    start = model.reasoner.span().start
    prompts = lab.prompts(model, [*lab.records.values()][:3], [start, ""])
    rows = generate(model, lab.collated(prompts), STAGE, DECODE)
    batch = replay_batch(model, prompts, rows, side)
    slots = model.slot_mask(batch)
    assert (slots & ~batch["completion"]).sum(1).tolist() == [2, 2, 2]
    assert len(batch["recorded"]) >= 6
    with torch.no_grad():
        fed = replayed_slots(model, batch, None, STAGE)
        scores: Scores = model(batch, STAGE, Scoring(temperature=0.9))
    assert fed is not None
    written = batch["completion"][slots]
    assert torch.equal(fed[written], batch["recorded"])
    assert fed[~written][:, 0].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    sampled = [p for row in rows for p, mine in zip(row.log_probs, row.sampled, strict=True) if mine]
    assert scores.log_probs_L.tolist() == pytest.approx(sampled, abs=1e-4)
