"""Point 5: decoding step by step with a cache gives what one forward over the whole sequence gives.

The written answers are appended to their prompts, positions are computed anew from the whole sequences, and
every log-probability and choice is compared. Breaks when: the cache, the positions after an image, or the
mask of new tokens differ from those of training.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import ANSWER_ONLY, BOTTLENECK, CAUSAL, Visibility
from latentvr.decoding.loop import generate
from latentvr.reasoners.base import Stage

LENGTH = 6


def _with_answer(model: Any, prompt: Any, ids: list[int]) -> Any:
    """The sample whose answer is `ids`, with positions computed from the whole sequence."""
    whole = torch.cat([prompt.ids, torch.tensor(ids)])
    answer = torch.full((len(ids),), int(Role.ANSWER), dtype=torch.int8)
    positions = model.backbone.positions(whole[None], whole[None] == model.image_token_id, prompt.grid)[:, 0]
    return replace(
        prompt, ids=whole, labels=whole, roles=torch.cat([prompt.roles, answer]), positions=positions
    )


@torch.no_grad()
def _forward(model: Any, sample: Any, stage: Stage) -> tuple[Tensor, Tensor]:
    """Hidden states (S, D) and log-probabilities (S, V) of one forward pass over a sample."""
    from latentvr.data.collate import collate

    batch = collate([sample], 0)
    hidden = model.hidden(batch, model.features(batch), stage)[0]
    return hidden, model.logits(hidden).log_softmax(-1)


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK, ANSWER_ONLY], ids=lambda v: v.name)
def test_decoding_with_a_cache_is_one_forward(lab: Any, mask_model: Any, visibility: Visibility) -> None:
    model, records = mask_model, list(lab.records.values())
    stage = Stage("s", visibility)
    written = generate(model, lab.batch(model, records, "left", answer=False), stage, LENGTH)
    prompts = lab.encode(model, records, answer=False)
    assert max(len(row.ids) for row in written) == LENGTH
    for prompt, row in zip(prompts, written, strict=True):
        hidden, log_probs = _forward(model, _with_answer(model, prompt, row.ids), stage)
        start = len(prompt.ids) - 1
        scores, best = log_probs[start : start + len(row.ids)].max(-1)
        assert best.tolist() == row.ids
        assert scores.tolist() == pytest.approx(row.log_probs, abs=1e-5)
        latents = hidden[: len(prompt.ids)][prompt.roles == Role.LATENT]
        assert row.latents.shape == latents.shape
        assert torch.allclose(row.latents, latents, atol=1e-5)


def test_the_encoders_answer_has_the_positions_of_decoding(lab: Any, mask_model: Any) -> None:
    """Answer tokens count on by one on all axes, as the decoding loop does."""
    model = mask_model
    for sample in lab.encode(model, list(lab.records.values())):
        after = sample.positions[:, sample.prompt_length - 1 :]
        assert torch.equal(after - after[:, :1], torch.arange(after.shape[1]).expand(3, -1))
