"""Reward for right answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentvr.evaluation.metrics import judge
from latentvr.rl.rewards.context import RewardContext


def accuracy_reward(
    prompts: Sequence[Any], completions: Sequence[Sequence[dict[str, str]]], **columns: Any
) -> list[float | None]:
    """1 for completions whose answer is right, else 0, as evaluation judges them.

    Args:
        prompts: not looked at.
        completions: conversational, one assistant message each.
        **columns: `context` of the round.

    Returns:
        One reward for each completion; one without an answer is wrong.

    Raises:
        RecordError: a record's own answer is none of its type.
    """
    del prompts
    context: RewardContext = columns["context"]
    return [
        float(judge(record, completion[0]["content"]).correct)
        for record, completion in zip(context.records, completions, strict=True)
    ]
