"""Completions behind one copy of their prompt score as they do in rows of their own.

Breaks when: one completion sees another, a position or the first predicting state is wrong, the prompt's
latents are fed to one row alone, or rows of different prompts are joined.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.decoding.rollout import Rollout
from latentvr.models.features import cache_features
from latentvr.models.scoring import Scores, Scoring
from latentvr.reasoners.base import Stage
from latentvr.rl.replay import replay_batch

GROUP = 3
SIDES = pytest.mark.parametrize("side", ["right", "left"])


def _words(model: Any) -> list[int]:
    """Ids of ordinary tokens."""
    kept = {*model.get_buffer("excluded").tolist(), *model.token_ids.values()}
    return [token for token in range(5, 60) if token not in kept]


def _written(model: Any, number: int, starts: bool) -> Rollout:
    """A completion with as many latent spans as `number`, or none where the method opens none."""
    generator = torch.Generator().manual_seed(number)
    span = model.reasoner.span()
    ids, slot, sampled = [], [], []
    words = [*_words(model)]

    def write(token: int, fed: bool = False, chosen: bool = True) -> None:
        ids.append(token)
        slot.append(fed)
        sampled.append(chosen)

    for part in range(number + 1):
        if span is not None and part < number:
            if not (starts and part == 0):
                write(model.token_ids[span.start])
            for _ in range(part + 1):
                write(model.token_ids[span.slot], fed=True, chosen=False)
            for text in span.end:
                write(model.token_ids[text], chosen=False)
        for choice in torch.randint(len(words), (part + 2,), generator=generator).tolist():
            write(words[choice])
    fed = torch.randn(sum(slot), model.backbone.width, generator=generator)
    return Rollout(ids, slot, sampled, [0.0] * len(ids), fed, [], fed[:0], "end")


@pytest.fixture(params=["direct", "livr", "lvr"])
def round_of(request: pytest.FixtureRequest, lab: Any, family: str) -> Any:
    """A model, its prompts, one for each completion, and the completions."""
    model = lab.model(family, request.param)
    records = [*lab.records.values()]
    span = model.reasoner.span()
    starts = [span is not None and i == 1 for i in range(len(records))]
    ends = ["" if span is None else span.start if start else "" for start in starts]
    prompts = lab.prompts(model, records, ends) if span else lab.encode(model, records, answer=False)
    cache_features(model, prompts)
    samples = [prompt for prompt in prompts for _ in range(GROUP)]
    rollouts = [_written(model, i % GROUP, starts[i // GROUP]) for i in range(len(samples))]
    return model, samples, rollouts


@SIDES
@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_scores_are_those_of_separate_rows(round_of: Any, side: Any, visibility: Any) -> None:
    model, samples, rollouts = round_of
    model.requires_grad_(True)
    stage, asked = Stage("s", visibility), Scoring(temperature=0.9, latents=True)

    def scored(share: bool) -> tuple[Scores, dict[str, torch.Tensor]]:
        model.zero_grad(set_to_none=True)
        scores = model(replay_batch(model, samples, rollouts, side, share), stage, asked)
        (scores.log_probs_L.sum() + scores.means_RD.square().sum()).backward()
        return scores, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    (alone, gradients), (shared, others) = scored(False), scored(True)
    model.requires_grad_(False)
    assert len(alone.log_probs_L) > 30
    torch.testing.assert_close(shared.log_probs_L, alone.log_probs_L, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared.means_RD, alone.means_RD, atol=1e-4, rtol=1e-4)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        apart = (others[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert float(apart) < 1e-3, name


def test_rows_hold_one_prompt_each(round_of: Any) -> None:
    model, samples, rollouts = round_of
    batch = replay_batch(model, samples, rollouts, share=True)
    assert len(batch["input_ids"]) == len(samples) // GROUP
    assert len(batch["chosen"]) == len(samples)
    longest = batch["input_ids"].shape[1]
    assert longest < sum(len(rollout.ids) for rollout in rollouts[:GROUP]) + GROUP * len(samples[0].ids)
    # The same record again is another prompt where it is another object.
    mixed = [samples[0], samples[GROUP], samples[0]]
    assert len(replay_batch(model, mixed, rollouts[:3], share=True)["input_ids"]) == 3
    # Where nothing is shared, rows are plain ones, which need no mask.
    assert "branches" in batch
    assert "branches" not in replay_batch(model, mixed, rollouts[:3], share=True)


def test_an_answer_does_not_see_another(round_of: Any) -> None:
    """Exactly: other words in one completion leave the scores of its neighbours as they are, to the bit."""
    model, samples, rollouts = round_of
    word, old = _words(model)[7], rollouts[0]
    ids = [word if mine else token for token, mine in zip(old.ids, old.sampled, strict=True)]
    other = replace(old, ids=ids)
    stage = Stage("s", CAUSAL)
    with torch.no_grad():
        first = model(replay_batch(model, samples[:GROUP], rollouts[:GROUP], share=True), stage, Scoring())
        batch = replay_batch(model, samples[:GROUP], [other, *rollouts[1:GROUP]], share=True)
        second = model(batch, stage, Scoring())
    own = sum(rollouts[0].sampled)
    assert torch.equal(first.log_probs_L[own:], second.log_probs_L[own:])
    assert not torch.equal(first.log_probs_L[:own], second.log_probs_L[:own])
