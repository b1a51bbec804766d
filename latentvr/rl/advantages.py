"""From the rewards of groups of completions to their advantages.

Shape suffixes: B completions, the G of a group side by side; F reward functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from latentvr.errors import UserError

Scale = Literal["group", "batch", "none"]
# Keeps a tiny spread from blowing up; small beside rewards of about 1.
FLOOR = 1e-4
# Completions or records that an error lists.
SHOWN = 8


def combined(rewards_BF: Tensor, weights_F: Tensor, names: Sequence[str] | None = None) -> Tensor:
    """Add up each completion's rewards by their weights; those that do not apply are left out.

    Args:
        rewards_BF: rewards, shape (B, F); NaN where a function does not apply.
        weights_F: weight of each function, shape (F,).
        names: ids of the B completions' records, for errors; None counts completions instead.

    Returns:
        One reward per completion, shape (B,).

    Raises:
        UserError: the shapes do not fit, or no function applies to a completion.
    """
    if rewards_BF.dim() != 2 or weights_F.shape != rewards_BF.shape[1:]:
        raise UserError(
            f"expected rewards of shape (completions, functions) and a weight for each function, got shapes "
            f"{tuple(rewards_BF.shape)} and {tuple(weights_F.shape)}, at the sum of rewards; fix: give every "
            "function one weight"
        )
    nowhere = rewards_BF.isnan().all(dim=1)
    if bool(nowhere.any()):
        raise UserError(
            f"expected a number from at least one reward function for every completion, got none for "
            f"{_listed(nowhere.nonzero().flatten().tolist(), names)}, at the sum of rewards; fix: add a "
            "reward that applies to all records"
        )
    return (rewards_BF * weights_F.to(rewards_BF)).nansum(dim=1)


def _listed(rows: list[int], names: Sequence[str] | None) -> str:
    """Some of the completions, or of the records that they answer."""
    if names is None:
        return f"completions {', '.join(map(str, rows[:SHOWN]))} ({len(rows)} in all)"
    records = list(dict.fromkeys(repr(names[row]) for row in rows))
    return f"{len(rows)} completions of records {', '.join(records[:SHOWN])} ({len(records)} in all)"


def spread(rewards: Tensor) -> Tensor:
    """Give the standard deviation (unbiased) over the last dimension, which is 2 or longer.

    Args:
        rewards: finite rewards, shape (..., N): (B,) of a whole batch or (B // group, group).

    Returns:
        The standard deviations, shape (...,).
    """
    # Written out: `Tensor.std` rounds otherwise than TRL's sum of squares.
    count = rewards.shape[-1]
    centred = rewards - rewards.nanmean(dim=-1, keepdim=True)
    correction = torch.full((), count, dtype=rewards.dtype, device=rewards.device) / (count - 1)
    return ((centred**2).nanmean(dim=-1) * correction).sqrt()


def zero_variance(rewards_B: Tensor, group: int) -> Tensor:
    """Tell which groups have the same reward throughout, and so teach nothing.

    Args:
        rewards_B: rewards, shape (B,), the completions of a group side by side.
        group: completions per group, at least 2.

    Returns:
        bool, shape (B // group,).

    Raises:
        UserError: the rewards do not make whole groups.
    """
    rewards_NG = _grouped(rewards_B, group)
    # Compared value by value: the mean of three times 0.1 is not 0.1, and a deviation from it not 0.
    return (rewards_NG == rewards_NG[:, :1]).all(dim=1)


def advantages(rewards_B: Tensor, group: int, scale: Scale, batch_std: Tensor | None = None) -> Tensor:
    """Measure each reward against its group: (r - mean) / (std + 1e-4).

    GRPO (arXiv 2402.03300, sec. 4.1.2) divides by the group's standard deviation; Dr. GRPO (arXiv 2503.20783,
    sec. 3.2) does not, since that favours questions which are too easy or too hard; one deviation for the
    whole batch lies between. A group whose rewards are all equal has advantages of exactly 0.

    Args:
        rewards_B: finite rewards, shape (B,), the completions of a group side by side.
        group: completions per group, at least 2.
        scale: what divides: the deviation of the "group", of the "batch", or "none".
        batch_std: the deviation over all processes for "batch", shape (); None takes that of `rewards_B`.

    Returns:
        The advantages, shape (B,).

    Raises:
        UserError: the rewards do not make whole groups, one is not finite, or `scale` is unknown.
    """
    rewards_NG = _grouped(rewards_B, group)
    centred_NG = rewards_NG - rewards_NG.nanmean(dim=1, keepdim=True)
    if scale == "group":
        centred_NG = centred_NG / (spread(rewards_NG)[:, None] + FLOOR)
    elif scale == "batch":
        std = spread(rewards_B) if batch_std is None else batch_std.to(rewards_B)
        centred_NG = centred_NG / (std + FLOOR)
    elif scale != "none":
        raise UserError(
            f"expected scale_rewards group, batch or none, got {scale!r}, at the advantages; fix: use one "
            "of these"
        )
    return centred_NG.masked_fill(zero_variance(rewards_B, group)[:, None], 0.0).flatten()


def _grouped(rewards_B: Tensor, group: int) -> Tensor:
    """Rewards as (B // group, group)."""
    if rewards_B.dim() != 1 or group < 2 or len(rewards_B) == 0 or len(rewards_B) % group:
        raise UserError(
            f"expected rewards of whole groups of at least 2 completions, got shape {tuple(rewards_B.shape)} "
            f"and groups of {group}, at the advantages; fix: keep all completions of a prompt together"
        )
    if not bool(rewards_B.isfinite().all()):
        raise UserError(
            f"expected finite rewards, got NaN or infinity in {int((~rewards_B.isfinite()).sum())} of "
            f"{len(rewards_B)}, at the advantages; fix: look at the reward functions and their weights"
        )
    return rewards_B.view(-1, group)
