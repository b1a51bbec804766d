"""Estimates of the divergence from the reference model, token by token."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from latentvr.errors import UserError

KLKind = Literal["k1", "k2", "k3"]


def kl_per_token(log_probs_BT: Tensor, reference_BT: Tensor, kind: KLKind) -> Tensor:
    """Estimate KL(policy || reference) from the tokens that the policy sampled.

    The three are Schulman's ("Approximating KL divergence", 2020); GRPO (arXiv 2402.03300, eq. 4) uses k3.
    With d = reference - log_probs: k1 = -d has the right mean and a large variance; k2 = d^2 / 2 is biased
    and never negative; k3 = exp(d) - d - 1 has the right mean and is never negative. As a loss term without
    its importance ratio, k1 pulls nowhere on average: the mean of its gradient is 0.

    Args:
        log_probs_BT: log-probabilities under the policy, shape (B, T), nats.
        reference_BT: those of the same tokens under the reference model, shape (B, T), nats.
        kind: the estimator.

    Returns:
        The estimates, shape (B, T), nats.

    Raises:
        UserError: the estimator is unknown.
    """
    if kind == "k1":
        return log_probs_BT - reference_BT
    if kind == "k2":
        return (log_probs_BT - reference_BT) ** 2 / 2
    if kind == "k3":
        # Two differences, not one used twice: the gradient then adds up in TRL's order, to the last bit.
        return torch.exp(reference_BT - log_probs_BT) - (reference_BT - log_probs_BT) - 1
    raise UserError(f"expected kl k1, k2 or k3, got {kind!r}, at the divergence; fix: use one of these")
