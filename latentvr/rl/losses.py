"""The clipped policy loss, token by token, and the four ways of averaging it.

Values and gradients equal those of TRL 1.16's trainer to the last bit; hence the order of operations.
Shape suffixes: B completions, T columns of the longest completion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from latentvr.errors import UserError
from latentvr.rl.kl import KLKind, kl_per_token

LossType = Literal["grpo", "bnpo", "dapo", "dr_grpo"]
Bound = float | Tensor


@dataclass(frozen=True)
class Penalty:
    """How far the policy may stray from the reference model.

    Attributes:
        beta: weight of the divergence.
        reference_BT: log-probabilities under the reference model, shape (B, T), nats.
        kind: the estimator of the divergence.
        corrected: multiply the estimate by the importance ratio, which corrects its bias off policy.
        exact_at_BT: where the divergence is known in closed form, bool, shape (B, T); None for nowhere.
        exact_BT: its value there, shape (B, T), nats; neither estimated nor corrected. None for nowhere.
    """

    beta: float
    reference_BT: Tensor
    kind: KLKind = "k3"
    corrected: bool = False
    exact_at_BT: Tensor | None = None
    exact_BT: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.exact_at_BT is None) != (self.exact_BT is None):
            raise UserError(
                "expected exact_at_BT and exact_BT together, got one of them, at the divergence from the "
                "reference; fix: say both where it is known and what it is there"
            )


def token_losses(
    log_probs_BT: Tensor,
    old_BT: Tensor,
    advantages_B: Tensor,
    low: Bound,
    high: Bound,
    penalty: Penalty | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Give the clipped surrogate plus beta times the divergence.

    The surrogate is -min(r A, clip(r, 1 - low, 1 + high) A) with r = exp(log_probs - old). GRPO, arXiv
    2402.03300, eq. 3; two bounds are DAPO's "clip higher", arXiv 2503.14476, sec. 3.1.

    Args:
        log_probs_BT: log-probabilities under the policy, shape (B, T), nats.
        old_BT: those when the completions were sampled, shape (B, T), nats; no gradient.
        advantages_B: advantages, shape (B,).
        low: how far below 1 the ratio counts; a tensor of shape (B, T) gives columns their own.
        high: how far above 1 the ratio counts; likewise.
        penalty: the reference model's share; None where beta is 0.

    Returns:
        The loss of each token, and its divergence as it enters the loss (without gradient; None where there
        is no penalty), both of shape (B, T).
    """
    ratio_BT = torch.exp(log_probs_BT - old_BT)
    kl_BT = None if penalty is None else _divergence(log_probs_BT, ratio_BT, penalty)
    loss_BT = _clipped_loss(ratio_BT, advantages_B[:, None], low, high)
    if penalty is None or kl_BT is None:
        return loss_BT, None
    return loss_BT + penalty.beta * kl_BT, kl_BT.detach()


def clipped(
    log_probs_BT: Tensor, old_BT: Tensor, advantages_B: Tensor, low: Bound, high: Bound
) -> tuple[Tensor, Tensor]:
    """Tell which tokens have no policy gradient because their ratio left the range.

    Args:
        log_probs_BT: log-probabilities under the policy, shape (B, T), nats.
        old_BT: those when the completions were sampled, shape (B, T), nats.
        advantages_B: advantages, shape (B,).
        low: as in `token_losses`.
        high: as in `token_losses`.

    Returns:
        Below the range with a negative advantage, and above it with a positive one: bool, shape (B, T).
    """
    ratio_BT = torch.exp(log_probs_BT.detach() - old_BT)
    advantages_B1 = advantages_B[:, None]
    return (ratio_BT < 1 - low) & (advantages_B1 < 0), (ratio_BT > 1 + high) & (advantages_B1 > 0)


def reduced(
    per_token_BT: Tensor,
    mask_BT: Tensor,
    loss_type: LossType,
    *,
    accumulation: int,
    items: Tensor,
    processes: int,
    steps_per_generation: int,
    max_length: int,
) -> Tensor:
    """Average the tokens' losses so that micro-batches add up and processes are averaged.

    "grpo" (arXiv 2402.03300, eq. 3): mean over a completion's tokens, then over completions. "bnpo": mean
    over the tokens of a micro-batch. "dapo" (arXiv 2503.14476, sec. 3.3): each token of a round of rollouts
    weighs the same, in whichever micro-batch and on whichever process it is. "dr_grpo" (arXiv 2503.20783,
    sec. 3.2): sum over tokens, divided by completions times `max_length`, whatever their lengths.

    Args:
        per_token_BT: losses, shape (B, T), finite everywhere.
        mask_BT: the tokens that count, bool, shape (B, T); a row may have none.
        loss_type: which mean.
        accumulation: micro-batches of this optimiser step.
        items: tokens that count in a whole round of rollouts, over all processes, shape (); for "dapo".
        processes: how many there are; their gradients are averaged. For "dapo".
        steps_per_generation: micro-batches of a round of rollouts; for "dapo".
        max_length: longest completion allowed, tokens; for "dr_grpo".

    Returns:
        The loss, shape ().

    Raises:
        UserError: the mean is unknown.
    """
    if loss_type == "grpo":
        means_B = (per_token_BT * mask_BT).sum(-1) / mask_BT.sum(-1).clamp(min=1.0)
        return means_B.mean() / accumulation
    total = (per_token_BT * mask_BT).sum()
    if loss_type == "bnpo":
        return total / mask_BT.sum().clamp(min=1.0) / accumulation
    if loss_type == "dr_grpo":
        return total / (len(per_token_BT) * max_length) / accumulation
    if loss_type == "dapo":
        per_process = items.clamp(min=1.0) / processes
        return total / (per_process * accumulation / steps_per_generation)
    raise UserError(
        f"expected loss_type grpo, bnpo, dapo or dr_grpo, got {loss_type!r}, at the policy loss; fix: use "
        "one of these"
    )


def _clipped_loss(ratio_BT: Tensor, advantages_B1: Tensor, low: Bound, high: Bound) -> Tensor:
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        # `clamp` takes two numbers or two tensors.
        low, high = (torch.as_tensor(bound).to(ratio_BT) for bound in (low, high))
    inside_BT = torch.clamp(ratio_BT, 1 - low, 1 + high)  # type: ignore[arg-type]
    return -torch.min(ratio_BT * advantages_B1, inside_BT * advantages_B1)


def _divergence(log_probs_BT: Tensor, ratio_BT: Tensor, penalty: Penalty) -> Tensor:
    reference_BT, at_BT = penalty.reference_BT, penalty.exact_at_BT
    if at_BT is not None:
        # An exponential that overflows where its value is not used would still make the gradient NaN.
        reference_BT = torch.where(at_BT, log_probs_BT.detach(), reference_BT)
    kl_BT = kl_per_token(log_probs_BT, reference_BT, penalty.kind)
    if penalty.corrected:
        kl_BT = kl_BT * ratio_BT
    if at_BT is None or penalty.exact_BT is None:
        return kl_BT
    return torch.where(at_BT, penalty.exact_BT, kl_BT)
