"""The loss of a micro-batch of replayed completions: clipped ratios of tokens and, if asked for, of latents.

Shape letters: B completions, T columns of the longest one, L tokens that the model chose, R latents fed in
completions, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from latentvr.config.schema import RLConfig
from latentvr.errors import RecipeError
from latentvr.models.scoring import Scores
from latentvr.rl.latent_likelihood import gaussian, gaussian_kl, vmf, vmf_kl
from latentvr.rl.losses import Bound, Penalty, clipped, reduced, token_losses
from latentvr.rl.replay import columns

#: Largest ratio of two densities of a latent; beyond it a latent gives no gradient, as with a dual clip
#: (arXiv 1912.09729). A density of a thousand dimensions has ratios that no float holds, and with a negative
#: advantage the clip range alone does not bound them.
LARGEST_RATIO = 3.0


@dataclass(frozen=True)
class Likelihoods:
    """How likely one set of weights finds a micro-batch.

    Attributes:
        log_probs_BT: of chosen tokens and, where latents are actions, of latents; 0 in other columns.
        means_RD: predictions of the latents.
        deviations: learned standard deviations (R, D) around them, or None.
    """

    log_probs_BT: Tensor
    means_RD: Tensor
    deviations: Tensor | None = None


@dataclass(frozen=True)
class Averaging:
    """What the average over a whole optimiser step depends on, beside the micro-batch.

    Attributes:
        accumulation: micro-batches of an optimiser step.
        items: tokens and latents that count in the whole round of rollouts, over all processes, shape ().
        processes: their number.
        steps_per_generation: micro-batches of a round.
        max_length: longest completion allowed, in tokens.
    """

    accumulation: int
    items: Tensor
    processes: int
    steps_per_generation: int
    max_length: int


@dataclass(frozen=True)
class Objective:
    """A micro-batch's share of the loss.

    Attributes:
        loss: shape (), with gradient.
        values: for figures: values of quantities by name, one-dimensional, without gradient.
    """

    loss: Tensor
    values: dict[str, Tensor]


def actions(batch: Mapping[str, Any], rl: RLConfig) -> Tensor:
    """Columns (B, T) that count: in completions that count, chosen tokens and latents that are actions."""
    acts_BT: Tensor = batch["chosen"]
    if rl.latent_ratio != "none":
        acts_BT = acts_BT | batch["latent"]
    return acts_BT & torch.as_tensor(batch["counts"]).unsqueeze(1)


def likelihoods(scores: Scores, batch: Mapping[str, Any], rl: RLConfig) -> Likelihoods:
    """Lay scores out by columns.

    Args:
        scores: of the batch.
        batch: from `replay_batch`.
        rl: says whether latents are actions, and under which density.

    Returns:
        The likelihoods, with the gradient of the scores.

    Raises:
        RecipeError: a learned density is asked for and the method has none.
    """
    log_probs_BT = columns(scores.log_probs_L, batch["chosen"])
    if rl.latent_ratio != "none":
        latent_R = batch["latent"][batch["slot"]]
        log_probs_BT = log_probs_BT + columns(_densities(scores, batch, rl)[latent_R], batch["latent"])
    return Likelihoods(log_probs_BT, scores.means_RD, scores.deviations)


def _densities(scores: Scores, batch: Mapping[str, Any], rl: RLConfig) -> Tensor:
    """Log-densities (R,) of what was fed."""
    fed_RD = batch["recorded"].float()
    if rl.latent_ratio == "vmf":
        return vmf(fed_RD, scores.means_RD, rl.latent_kappa)
    if rl.latent_ratio == "gaussian":
        return gaussian(fed_RD, scores.means_RD, rl.latent_sigma)
    if scores.deviations is None:
        raise RecipeError(
            "expected a method that learns the noise of its latents for rl.latent_ratio=learned, got one "
            "without; fix: give the method its noise, or use rl.latent_ratio=gaussian"
        )
    return gaussian(fed_RD, scores.means_RD, scores.deviations)


def objective(
    now: Likelihoods,
    old: Likelihoods | None,
    reference: Likelihoods | None,
    batch: Mapping[str, Any],
    rl: RLConfig,
    averaging: Averaging,
) -> Objective:
    """Loss of a micro-batch (GRPO, arXiv 2402.03300, equation 3).

    Args:
        now: under the weights that train.
        old: under those of the rollouts; None where they are the same.
        reference: under those at the start of the run; None where `rl.beta` is 0.
        batch: from `replay_batch`, with `advantages` (B,) and `counts` (B,), False for completions that give
            no loss.
        rl: clip ranges, divergence, averaging.
        averaging: what the average depends on beside the micro-batch.

    Returns:
        The loss and what is logged of it.
    """
    mask_BT, advantages_B = actions(batch, rl), batch["advantages"]
    old_BT = now.log_probs_BT.detach() if old is None else old.log_probs_BT
    if rl.latent_ratio != "none":
        now = replace(now, log_probs_BT=_bounded(now.log_probs_BT, old_BT, batch["latent"]))
    low, high = _bounds(batch, rl)
    penalty = None if reference is None else _penalty(now, reference, batch, rl)
    losses_BT, kl_BT = token_losses(now.log_probs_BT, old_BT, advantages_B, low, high, penalty)
    loss = reduced(
        losses_BT,
        mask_BT,
        rl.loss_type,
        accumulation=averaging.accumulation,
        items=averaging.items,
        processes=averaging.processes,
        steps_per_generation=averaging.steps_per_generation,
        max_length=averaging.max_length,
    )
    too_low_BT, too_high_BT = clipped(now.log_probs_BT, old_BT, advantages_B, low, high)
    text_BT, latent_BT = mask_BT & batch["chosen"], mask_BT & batch["latent"]
    values = {
        "clip_ratio/low_mean": too_low_BT[text_BT],
        "clip_ratio/high_mean": too_high_BT[text_BT],
        "clip_ratio/region_mean": (too_low_BT | too_high_BT)[text_BT],
    }
    if kl_BT is not None:
        values["kl"] = kl_BT[mask_BT]
    if rl.latent_ratio != "none":
        values["latent_clip_ratio"] = (too_low_BT | too_high_BT)[latent_BT]
    return Objective(loss, values)


def drift(now: Likelihoods, batch: Mapping[str, Any]) -> Tensor:
    """Distance of fed latents from what the weights predict now, as a share of their norm (R,)."""
    latent_R = batch["latent"][batch["slot"]]
    fed_RD: Tensor = batch["recorded"].float()[latent_R]
    mean_RD = now.means_RD.detach()[latent_R]
    apart_R: Tensor = torch.linalg.vector_norm(fed_RD - mean_RD, dim=-1)
    norm_R: Tensor = torch.linalg.vector_norm(fed_RD, dim=-1)
    return apart_R / norm_R.clamp(min=torch.finfo(torch.float32).tiny)


def _bounded(log_probs_BT: Tensor, old_BT: Tensor, latent_BT: Tensor) -> Tensor:
    """Log-densities of latents at most `LARGEST_RATIO` times the old ones; those of tokens as they are."""
    apart_BT = (log_probs_BT - old_BT).clamp(max=math.log(LARGEST_RATIO))
    return torch.where(latent_BT, old_BT + apart_BT, log_probs_BT)


def _bounds(batch: Mapping[str, Any], rl: RLConfig) -> tuple[Bound, Bound]:
    """Clip range below and above 1; latents may have their own."""
    low, high = rl.epsilon, rl.epsilon if rl.epsilon_high is None else rl.epsilon_high
    if rl.latent_ratio == "none" or rl.latent_epsilon is None:
        return low, high
    own, latent_BT = rl.latent_epsilon, batch["latent"]
    return torch.where(latent_BT, own, low), torch.where(latent_BT, own, high)


def _penalty(now: Likelihoods, reference: Likelihoods, batch: Mapping[str, Any], rl: RLConfig) -> Penalty:
    """Divergence from the reference: estimated from tokens, exact between densities of latents."""
    exact_BT = None
    if rl.latent_ratio != "none":
        latent_R = batch["latent"][batch["slot"]]
        exact_BT = columns(_apart(now, reference, rl)[latent_R], batch["latent"])
    return Penalty(
        rl.beta,
        reference.log_probs_BT,
        rl.kl,
        rl.use_bias_correction_kl,
        None if exact_BT is None else batch["latent"],
        exact_BT,
    )


def _apart(now: Likelihoods, reference: Likelihoods, rl: RLConfig) -> Tensor:
    """Divergence of the latents' densities (R,), in nats."""
    if rl.latent_ratio == "vmf":
        return vmf_kl(now.means_RD, reference.means_RD, rl.latent_kappa)
    if now.deviations is None or reference.deviations is None or rl.latent_ratio == "gaussian":
        return gaussian_kl(now.means_RD, reference.means_RD, rl.latent_sigma)
    return gaussian_kl(now.means_RD, reference.means_RD, now.deviations, reference.deviations)
