"""Rewards that look at latents need a method that has some."""

from __future__ import annotations

from latentvr.errors import UserError
from latentvr.rl.rewards.context import RewardContext


def require_latents(context: RewardContext, reward: str) -> None:
    """Refuse a method without latents; recipes are refused for it before.

    Args:
        context: of a round of rollouts.
        reward: name of the reward that looks at latents.

    Raises:
        UserError: the method has latents neither in prompts nor in answers.
    """
    config = context.model.reasoner.config
    if not config.has_latents:
        raise UserError(
            f"expected a method with latents, got {config.name!r} without, at reward {reward!r}; "
            "fix: take it out of rl.rewards, or train a method that has latents"
        )
