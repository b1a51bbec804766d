"""What reinforcement makes of replay: zeros where nothing is learned, equal gradients at less memory.

Breaks when: policy, old policy and reference differ by a bit for the same weights, a group without spread
moves anything, activations or logits that are recomputed are others, or the reference is left in the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import BOTTLENECK
from latentvr.config.schema import DecodeConfig, LoraConfig, RLConfig
from latentvr.decoding.loop import generate
from latentvr.models import scoring
from latentvr.models.features import cache_features
from latentvr.models.scoring import Scores, Scoring
from latentvr.models.trainable import set_trainable
from latentvr.reasoners import registry
from latentvr.reasoners.base import Stage
from latentvr.rl.advantages import advantages
from latentvr.rl.objective import Averaging, Likelihoods, Objective, likelihoods, objective
from latentvr.rl.replay import replay_batch
from latentvr.trainers.reference import Reference

STAGE = Stage("grpo", BOTTLENECK)
LORA = LoraConfig(r=4, alpha=8, dropout=0.0)
GROUP = 4
KINDS = pytest.mark.parametrize("kind", ["language", "lora", "continued"])


@dataclass
class Trained:
    """A model whose parameters train, and a round of its completions."""

    model: Any
    batch: dict[str, Any]
    sampled_L: Tensor

    def score(self, latents: bool = False) -> Scores:
        """Scores as the trainer asks for them."""
        asked = Scoring(temperature=0.9, latents=latents)
        found: Scores = self.model.train()(self.batch, STAGE, asked)
        return found

    def gradients(self) -> dict[str, Tensor]:
        """Gradients by names, taken away from the parameters; none is zeros."""
        found = {
            name: torch.zeros_like(p) if p.grad is None else p.grad
            for name, p in self.model.named_parameters()
            if p.requires_grad
        }
        self.model.zero_grad(set_to_none=True)
        return found


def _trained(
    lab: Any, family: str, name: str, kind: str = "language", half: bool = False, share: bool = True
) -> Trained:
    model = lab.model(family, name)
    if half:
        model.base.to(torch.bfloat16)
    set_trainable(model, "lora" if kind == "continued" else kind, LORA)
    if kind == "continued":
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.1)
    span = model.reasoner.span()
    prompts = lab.prompts(model, [*lab.records.values()][:3], ["", "" if span is None else span.start])
    cache_features(model, prompts)
    decode = DecodeConfig(max_new_tokens=8, latent_steps=3, do_sample=True, temperature=0.9, top_k=50)
    rows = generate(model.eval(), lab.collated(prompts), STAGE, decode, rollouts=GROUP)
    batch = replay_batch(model, [prompt for prompt in prompts for _ in range(GROUP)], rows, share=share)
    batch["counts"] = torch.ones(len(rows), dtype=torch.bool)
    chosen = [p for row in rows for p, mine in zip(row.log_probs, row.sampled, strict=True) if mine]
    return Trained(model, batch, torch.tensor(chosen))


@pytest.fixture(params=registry.names())
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _objective(trained: Trained, rewards: Tensor, rl: RLConfig, other: Likelihoods | None) -> Objective:
    batch = trained.batch
    batch["advantages"] = advantages(rewards, GROUP, "group")
    now = likelihoods(trained.score(latents=rl.latent_ratio != "none"), batch, rl)
    items = batch["chosen"].sum().float()
    found = objective(now, None, other, batch, rl, Averaging(1, items, 1, 1, 8))
    found.loss.backward()
    return found


def _reference(trained: Trained, kind: str, rl: RLConfig) -> Likelihoods:
    """Likelihoods under the reference, made of the weights as they are."""
    with Reference(trained.model, kind == "lora").in_place(), torch.no_grad():
        return likelihoods(trained.score(), trained.batch, rl)


@KINDS
def test_the_reference_of_the_same_weights_is_the_policy(
    lab: Any, family: str, method: str, kind: str
) -> None:
    """Its divergence is exactly 0, and the model is what it was, to the last bit."""
    trained = _trained(lab, family, method, kind)
    before = {name: (p.data_ptr(), p.detach().clone()) for name, p in trained.model.named_parameters()}
    trains = [name for name, p in trained.model.named_parameters() if p.requires_grad]
    rl = RLConfig()
    other = _reference(trained, kind, rl)
    for name, parameter in trained.model.named_parameters():
        assert parameter.data_ptr() == before[name][0]
        assert torch.equal(parameter, before[name][1])
    assert [name for name, p in trained.model.named_parameters() if p.requires_grad] == trains
    rewards = torch.arange(len(trained.batch["counts"])).float()
    found = _objective(trained, rewards, rl, other)
    assert not found.values["kl"].any()
    assert not found.values["clip_ratio/region_mean"].any()
    assert any(bool(gradient.any()) for gradient in trained.gradients().values())


@pytest.mark.parametrize("share", [True, False])
@KINDS
def test_a_group_without_spread_moves_nothing(
    lab: Any, family: str, method: str, kind: str, share: bool
) -> None:
    """With a divergence and without, whatever the latents count."""
    trained = _trained(lab, family, method, kind, share=share)
    spans = trained.model.reasoner.span() is not None
    rewards = torch.tensor([0.3, 1.1, 0.7]).repeat_interleave(GROUP)
    for ratio in ("none", "gaussian", "vmf") if spans else ("none",):
        rl = RLConfig(latent_ratio=ratio)  # type: ignore[arg-type]
        for other in (None, _reference(trained, kind, rl)):
            found = _objective(trained, rewards, rl, other)
            assert found.loss == 0.0
            assert [name for name, gradient in trained.gradients().items() if gradient.any()] == []


def _whole(trained: Trained) -> tuple[Scores, dict[str, Tensor]]:
    """Scores, and the gradient of a sum in which each token and each latent counts differently."""
    scores = trained.score(latents=True)
    tokens = scores.log_probs_L * torch.linspace(-1, 1, len(scores.log_probs_L))
    latents = scores.means_RD.square() * torch.linspace(0.1, 1, len(scores.means_RD)).unsqueeze(-1)
    (tokens.sum() + latents.sum()).backward()
    return scores, trained.gradients()


def _same(one: tuple[Scores, dict[str, Tensor]], other: tuple[Scores, dict[str, Tensor]]) -> None:
    assert torch.allclose(one[0].log_probs_L, other[0].log_probs_L, rtol=0, atol=1e-5)
    assert torch.allclose(one[0].entropies_L, other[0].entropies_L, rtol=0, atol=1e-5)
    assert any(bool(gradient.any()) for gradient in one[1].values())
    whole = torch.stack([gradient.norm() for gradient in one[1].values()]).norm()
    apart = torch.stack([(one[1][name] - gradient).norm() for name, gradient in other[1].items()]).norm()
    assert float(apart / whole) < 1e-6


@pytest.mark.parametrize("kind", ["language", "continued"])
def test_recomputed_activations_are_the_same(lab: Any, family: str, method: str, kind: str) -> None:
    trained = _trained(lab, family, method, kind)
    plain = _whole(trained)
    trained.model.backbone.model.gradient_checkpointing_enable({"use_reentrant": False})
    assert trained.model.backbone.language_model.gradient_checkpointing
    _same(plain, _whole(trained))


def test_logits_in_pieces_are_the_same(
    lab: Any, family: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is made again for its gradient; without gradients it gives the same bits."""
    trained = _trained(lab, family, method)
    plain = _whole(trained)
    monkeypatch.setattr(scoring, "POSITIONS_AT_ONCE", 7)
    pieces = _whole(trained)
    _same(plain, pieces)
    with torch.no_grad():
        assert torch.equal(trained.score().log_probs_L, pieces[0].log_probs_L.detach())


def test_half_precision_is_near_and_its_ratio_is_one(lab: Any, family: str, method: str) -> None:
    """What sampling and replay round differently is a matter of precision; two replays round alike.

    At most 0.018 apart on these models, whose log-probabilities go down to -7.
    """
    trained = _trained(lab, family, method, "lora", half=True)
    with torch.no_grad():
        first = trained.score().log_probs_L
    second = trained.score().log_probs_L.detach()
    assert torch.equal((second - first).exp(), torch.ones_like(first))
    assert first.dtype == torch.float32
    assert 1e-4 < float((first - trained.sampled_L).abs().max()) < 0.1
