"""The loss of a micro-batch, put together by hand once more.

Breaks when: latents count where they are no actions, an end vector counts at all, latents lack their own clip
range or closed divergence, a completion that gives no loss gives one, or figures count other tokens.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.config.schema import RLConfig
from latentvr.errors import RecipeError
from latentvr.models.scoring import Scores
from latentvr.rl.latent_likelihood import bessel_ratio
from latentvr.rl.objective import Averaging, Likelihoods, actions, drift, likelihoods, objective

AVERAGING = Averaging(
    accumulation=1, items=torch.tensor(7.0), processes=1, steps_per_generation=1, max_length=4
)


def _batch() -> dict[str, Any]:
    """Two completions: token, latent, end vector, token; token, token."""
    yes, no = True, False
    return {
        "chosen": torch.tensor([[yes, no, no, yes], [yes, yes, no, no]]),
        "slot": torch.tensor([[no, yes, yes, no], [no, no, no, no]]),
        "latent": torch.tensor([[no, yes, no, no], [no, no, no, no]]),
        "recorded": torch.tensor([[3.0, 4.0], [9.0, 9.0]]),
        "counts": torch.tensor([yes, yes]),
        "advantages": torch.tensor([1.0, -1.0]),
    }


def _scores(log_probs: list[float], mean: tuple[float, float] = (3.0, 4.0)) -> Scores:
    """Scores; the prediction of the end vector is far from it."""
    means = torch.tensor([mean, (0.0, 0.0)], requires_grad=True)
    return Scores(torch.tensor(log_probs, requires_grad=True), torch.zeros(4), means, None)


def _found(scores: Scores, rl: RLConfig, batch: dict[str, Any] | None = None) -> Likelihoods:
    return likelihoods(scores, batch or _batch(), rl)


def test_tokens_alone_count_by_default() -> None:
    batch = _batch()
    assert torch.equal(actions(batch, RLConfig()), batch["chosen"])
    found = _found(_scores([-1.0, -2.0, -3.0, -4.0]), RLConfig()).log_probs_BT
    assert found.tolist() == [[-1.0, 0.0, 0.0, -2.0], [-3.0, -4.0, 0.0, 0.0]]


@pytest.mark.parametrize("ratio", ["gaussian", "vmf"])
def test_latents_count_where_they_are_actions_and_end_vectors_never(ratio: Any) -> None:
    batch, rl = _batch(), RLConfig(latent_ratio=ratio, latent_sigma=2.0, latent_kappa=10.0)
    assert torch.equal(actions(batch, rl), batch["chosen"] | batch["latent"])
    found = _found(_scores([-1.0, -2.0, -3.0, -4.0], (3.0, 2.0)), rl).log_probs_BT
    wanted = -4.0 / 8 if ratio == "gaussian" else 10 * (3 * 3 + 4 * 2) / (5 * math.sqrt(13))
    assert found[0].tolist() == pytest.approx([-1.0, wanted, 0.0, -2.0], rel=1e-6)


def test_a_learned_density_needs_deviations() -> None:
    rl = RLConfig(latent_ratio="learned")
    scores = _scores([0.0] * 4, (3.0, 2.0))
    with pytest.raises(RecipeError, match="expected a method that learns the noise"):
        _found(scores, rl)
    wide = Scores(scores.log_probs_L, scores.entropies_L, scores.means_RD, torch.full((2, 2), 2.0))
    found = _found(wide, rl).log_probs_BT[0, 1].detach()
    assert float(found) == pytest.approx(-4.0 / 8 - 2 * math.log(2.0), rel=1e-6)


def test_completions_that_do_not_count_give_no_loss_and_no_figure() -> None:
    batch = {**_batch(), "counts": torch.tensor([True, False])}
    assert actions(batch, RLConfig()).sum(1).tolist() == [2, 0]
    scores = _scores([-1.0, -2.0, -3.0, -4.0])
    found = objective(_found(scores, RLConfig(), batch), None, None, batch, RLConfig(), AVERAGING)
    found.loss.backward()
    assert scores.log_probs_L.grad is not None
    assert scores.log_probs_L.grad.tolist() == [-0.5, -0.5, 0.0, 0.0]
    assert len(found.values["clip_ratio/region_mean"]) == 2


def test_loss_with_old_weights_and_a_reference() -> None:
    """Bound by bound and token by token."""
    rl = RLConfig(beta=0.5, epsilon=0.2, epsilon_high=0.3)
    now, old, other = [-1.0, -1.0, -1.0, -1.0], [-1.1, -2.0, -0.5, -1.05], [-1.0, -1.5, -1.0, -0.5]
    each = [_found(_scores(values), rl) for values in (now, old, other)]
    found = objective(*each, _batch(), rl, AVERAGING)
    ratios = [math.exp(a - b) for a, b in zip(now, old, strict=True)]
    assert ratios[1] > 1.3
    assert ratios[2] < 0.8
    policy = [-ratios[0], -1.3, 0.8, ratios[3]]
    gaps = [b - a for a, b in zip(now, other, strict=True)]
    divergence = [math.exp(gap) - gap - 1 for gap in gaps]
    wanted = sum(p + 0.5 * d for p, d in zip(policy, divergence, strict=True)) / 4
    assert float(found.loss.detach()) == pytest.approx(wanted, rel=1e-6)
    assert found.values["kl"].tolist() == pytest.approx(divergence, abs=1e-6)
    assert found.values["clip_ratio/high_mean"].tolist() == [False, True, False, False]
    assert found.values["clip_ratio/low_mean"].tolist() == [False, False, True, False]
    assert found.values["clip_ratio/region_mean"].tolist() == [False, True, True, False]
    assert "latent_clip_ratio" not in found.values


def _gradient_of_latent(rl: RLConfig, gap: float) -> tuple[Tensor, Tensor]:
    """Gradient of the predictions where the log-ratio of the latent is `gap`, and whether it was clipped."""
    scores = _scores([-1.0] * 4, (3.0, 2.0))
    now = _found(scores, rl)
    old_BT = now.log_probs_BT.detach().clone()
    old_BT[0, 1] -= gap
    found = objective(now, Likelihoods(old_BT, scores.means_RD.detach()), None, _batch(), rl, AVERAGING)
    found.loss.backward()
    assert scores.means_RD.grad is not None
    return scores.means_RD.grad, found.values["latent_clip_ratio"]


def test_latents_have_a_clip_range_of_their_own() -> None:
    wide = RLConfig(latent_ratio="gaussian", latent_sigma=2.0)
    narrow = RLConfig(latent_ratio="gaussian", latent_sigma=2.0, latent_epsilon=0.05)
    gradient, clipped = _gradient_of_latent(wide, math.log(1.1))
    assert clipped.tolist() == [False]
    assert gradient[0].any()
    assert not gradient[1].any()
    gradient, clipped = _gradient_of_latent(narrow, math.log(1.1))
    assert clipped.tolist() == [True]
    assert not gradient.any()


def test_the_divergence_of_directions_is_exact() -> None:
    rl = RLConfig(latent_ratio="vmf", latent_kappa=10.0, beta=0.5)
    now, other = _found(_scores([-1.0] * 4, (3.0, 4.0)), rl), _found(_scores([-1.0] * 4, (4.0, 3.0)), rl)
    found = objective(now, None, other, _batch(), rl, AVERAGING)
    exact = 10.0 * bessel_ratio(2, 10.0) * (1 - 24 / 25)
    assert found.values["kl"].tolist() == pytest.approx([0.0, exact, 0.0, 0.0, 0.0], abs=1e-6)
    assert float(found.loss.detach()) == pytest.approx((-1 - 1 - 1 + 1 + 1 + 0.5 * exact) / 5, rel=1e-5)


@pytest.mark.parametrize("far", [500.0, -500.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_densities_that_no_float_holds_give_no_gradient(far: float, advantage: float) -> None:
    """Of a latent; tokens go on learning."""
    rl = RLConfig(latent_ratio="gaussian", latent_sigma=1.0, beta=0.04)
    scores = _scores([-1.0] * 4, (0.0, 0.0))
    now = _found(scores, rl)
    other = Likelihoods(now.log_probs_BT.detach() + far * _batch()["latent"], now.means_RD.detach())
    batch = {**_batch(), "advantages": torch.tensor([advantage, 0.0])}
    found = objective(now, other, other, batch, rl, AVERAGING)
    tokens, means = torch.autograd.grad(found.loss, [scores.log_probs_L, scores.means_RD])
    assert bool(torch.isfinite(found.loss))
    assert not means.any()
    assert bool(torch.isfinite(tokens).all())
    assert tokens[:2].all()


def test_drift_is_a_share_of_the_norm_and_leaves_end_vectors_out() -> None:
    found = _found(_scores([0.0] * 4, (3.0, 3.0)), RLConfig())
    assert drift(found, _batch()).tolist() == pytest.approx([0.2])


@pytest.mark.parametrize("ratio", ["gaussian", "learned"])
def test_the_divergence_of_densities_pulls_back_from_afar(ratio: Any) -> None:
    """It is exact: the latent that was fed, which lies at the mean, has no part in it."""
    rl = RLConfig(latent_ratio=ratio, latent_sigma=0.5, beta=1.0)
    deviations = torch.full((2, 2), 0.5) if ratio == "learned" else None
    scores = Scores(*_parts(_scores([-1.0] * 4, (3.0, 4.0))), deviations)
    far = Scores(*_parts(_scores([-1.0] * 4, (40.0, 4.0))), deviations)
    now, other = _found(scores, rl), _found(far, rl)
    batch = {**_batch(), "advantages": torch.zeros(2)}
    found = objective(now, None, other, batch, rl, AVERAGING)
    exact = 37.0**2 / (2 * 0.5**2)
    assert found.values["kl"].tolist() == pytest.approx([0.0, exact, 0.0, 0.0, 0.0], rel=1e-5)
    (means,) = torch.autograd.grad(found.loss, [scores.means_RD])
    assert means[0].tolist() == pytest.approx([-37.0 / 0.5**2 / 5, 0.0], rel=1e-5)


def _parts(scores: Scores) -> tuple[Tensor, Tensor, Tensor]:
    return scores.log_probs_L, scores.entropies_L, scores.means_RD
