"""The published rewards of completions: accuracy, and both markers around latents."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import DecodeConfig, RLConfig
from latentvr.data.record import Record
from latentvr.decoding.rollout import Rollout
from latentvr.reasoners.base import Stage
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.rewards.registry import resolve


def _rollout(model: Any, text: str) -> Rollout:
    """The tokens of a text; what stands between the markers stands for latents, one for each character."""
    span, tokenizer = model.reasoner.span(), model.processor.tokenizer
    ids: list[int] = []
    slot: list[bool] = []
    between = rf"(?<={re.escape(span.start)})(.*?)(?={re.escape(span.end[-1])})"
    for i, part in enumerate(re.split(between, text, flags=re.DOTALL)):
        new = [model.token_ids[span.slot]] * len(part) if i % 2 else tokenizer.encode(part)
        ids += new
        slot += [bool(i % 2)] * len(new)
    fed = torch.zeros(sum(slot), model.backbone.width)
    sampled = [not s for s in slot]
    return Rollout(ids, slot, sampled, [0.0] * len(ids), fed, [fed], fed[:0], "end")


def test_rewards_are_the_published_ones(golden: Any, models: Any) -> None:
    """A solution is the answer as the data set writes it; both answers of the file are judged as text."""
    cases = golden.json("grpo/grpo.json").get("reward_cases")
    if not cases:
        pytest.skip(f"no reward cases in {golden.folder}")
    model = models.load("model")
    records = [Record(str(i), "t", "train", (), "?", case["solution"]) for i, case in enumerate(cases)]
    rollouts = [_rollout(model, case["completion"]) for case in cases]

    class Prompt:
        ids = torch.tensor([0])

    source: Any = SimpleNamespace(records=records)
    prompts: Any = [Prompt()] * len(cases)
    stage = Stage("test", CAUSAL)
    context = RewardContext(model, records, prompts, rollouts, source, stage, DecodeConfig(), RLConfig())
    rewards = Rewards(resolve(RLConfig(rewards=["accuracy", "format"])))(context)
    assert rewards.tolist() == [[case["accuracy"], case["format"]] for case in cases]
