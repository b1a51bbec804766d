"""Reward for answers that need their latents: right with them, wrong without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from latentvr.attention.roles import Role
from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.record import Record
from latentvr.evaluation.evaluate import answer_batch
from latentvr.evaluation.metrics import judge
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.features import cache_features, lent
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.rewards.latents import require_latents

#: Prompts that are answered together.
TOGETHER = 32


def necessity_reward(
    prompts: Sequence[Any], completions: Sequence[Sequence[dict[str, str]]], **columns: Any
) -> list[float | None]:
    """Reward latents that make the difference (the code of arXiv 2605.18641).

    Without latents there is one answer for each prompt, the likeliest one, under the rollouts' visibility:
    spans are opened and closed with nothing between their markers, and latents are left out of prompts.

    Args:
        prompts: not looked at.
        completions: conversational, one assistant message each.
        **columns: `context` of the round; its `rl.necessity_bonus` is n.

    Returns:
        For each completion n if it is right and the answer without latents is wrong, -n/2 if the answer
        without latents is right, else 0.

    Raises:
        UserError: the method has no latents.
    """
    del prompts
    context: RewardContext = columns["context"]
    require_latents(context, "necessity")
    right_without = _right_without(context)
    bonus = context.rl.necessity_bonus
    out: list[float | None] = []
    for record, completion in zip(context.records, completions, strict=True):
        if right_without[record.id]:
            out.append(-bonus / 2)
        else:
            out.append(bonus if judge(record, completion[0]["content"]).correct else 0.0)
    return out


@torch.no_grad()
def _right_without(context: RewardContext) -> dict[str, bool]:
    """Whether the greedy answer without latents is right, by the record's id."""
    model = context.model
    asked = {record.id: (record, sample) for record, sample in
             zip(context.records, context.samples, strict=True)}  # fmt: skip
    longest = max(len(sample.ids) for sample in context.samples)
    encoder = encoder_for(model, max_length=longest, drop_latents=True)
    todo = [(record, _dropped(context, encoder, record, sample)) for record, sample in asked.values()]
    todo.sort(key=lambda pair: len(pair[1].ids))
    cache_features(model, [sample for _, sample in todo])
    decode = replace(context.decode, do_sample=False)
    spans = model.reasoner.span() is not None
    out: dict[str, bool] = {}
    for start in range(0, len(todo), TOGETHER):
        part = todo[start : start + TOGETHER]
        feed = [[torch.zeros(0, model.backbone.width)]] * len(part) if spans else None
        samples = [sample for _, sample in part]
        written = answer_batch(model, samples, context.stage, decode, feed, blind_markers=True)
        for (record, _), row in zip(part, written, strict=True):
            text = model.processor.tokenizer.decode(row.ids, skip_special_tokens=True)
            out[record.id] = judge(record, text).correct
    return out


def _dropped(
    context: RewardContext, encoder: Encoder, record: Record, sample: EncodedSample
) -> EncodedSample:
    """The prompt without latents, with the features that the given sample has of the same images."""
    latent_S = torch.eq(sample.roles, int(Role.LATENT))
    if not bool(latent_S.any()):
        return replace(sample)  # features are put into the copy, not into the caller's
    found = lent(context.model, sample)
    if found is None:
        return encoder.encode(record, context.source.images(record), with_answer=False)
    out = encoder.encode(record, context.source.images(record), with_answer=False, grid=found[1])
    return replace(out, features=found[0])
