"""Point 5: decoding step by step with a cache gives what one forward over the whole sequence gives.

The written answers are appended to their prompts, positions are computed anew from the whole sequences, what
was fed at latent slots is fed again, and every log-probability, choice and latent is compared. Breaks when:
the cache, the positions after an image, the mask of new tokens or what is fed differ from those of training.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import ANSWER_ONLY, BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.reasoners.base import Stage

DECODE = DecodeConfig(max_new_tokens=8, latent_steps=3)


@torch.no_grad()
def _forward(lab: Any, model: Any, prompt: Any, row: Any, stage: Stage) -> tuple[Tensor, Tensor]:
    """Hidden states (S, D) and log-probabilities (S, V) of one forward pass over prompt and answer."""
    batch = lab.collated([lab.went_on(model, prompt, row.ids, row.slot)])
    slots = row.fed if len(row.fed) else None
    hidden = model.hidden(batch, model.features(batch), stage, slots=slots)[0]
    return hidden, model.logits(hidden).log_softmax(-1)


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK, ANSWER_ONLY], ids=lambda v: v.name)
def test_decoding_with_a_cache_is_one_forward(lab: Any, mask_model: Any, visibility: Visibility) -> None:
    """Where the method has spans, every other prompt ends with the start marker."""
    model, span = mask_model, mask_model.reasoner.span()
    prompts = lab.prompts(model, list(lab.records.values()), ("" if span is None else span.start, ""))
    stage = Stage("s", visibility)
    seen: list[Tensor] = []
    written = generate(
        model, lab.collated(prompts), stage, DECODE, watch=lambda *args: seen.append(args[1].clone())
    )
    assert max(len(row.ids) for row in written) == DECODE.max_new_tokens
    assert span is None or [[len(s) for s in row.spans] for row in written][::2] == [[3], [3]]
    for i, (prompt, row) in enumerate(zip(prompts, written, strict=True)):
        hidden, log_probs = _forward(lab, model, prompt, row, stage)
        start = len(prompt.ids) - 1
        before, scores = hidden[start : start + len(row.ids)], log_probs[start : start + len(row.ids)]
        assert torch.allclose(torch.stack([states[i] for states in seen[: len(row.ids)]]), before, atol=1e-4)
        best = scores.argmax(-1).tolist()
        for token, guess, given, score, sampled in zip(
            row.ids, best, row.log_probs, scores, row.sampled, strict=True
        ):
            assert not sampled or guess == token
            assert given == (pytest.approx(float(score[token]), abs=1e-4) if sampled else 0.0)
        with torch.no_grad():
            latent = (
                [id_ == model.token_ids[span.slot] for id_ in row.ids] if span else [False] * len(row.ids)
            )
            made = model.reasoner.latent_inputs(before[torch.tensor(latent)])
        fed = torch.cat([row.fed[:0], *row.spans])  # without an end vector, which is no prediction
        assert torch.allclose(fed, made, atol=1e-4)
        inside = model.slot_mask(lab.collated([prompt]))[0]
        latents = hidden[: len(prompt.ids)][inside]
        assert row.prompt_latents.shape == latents.shape
        assert torch.allclose(row.prompt_latents, latents, atol=1e-5)


def test_the_encoders_answer_has_the_positions_of_decoding(lab: Any, mask_model: Any) -> None:
    """Answer tokens count on by one on all axes, as the decoding loop does."""
    model = mask_model
    for sample in lab.encode(model, list(lab.records.values())):
        after = sample.positions[:, sample.prompt_length - 1 :]
        assert torch.equal(after - after[:, :1], torch.arange(after.shape[1]).expand(3, -1))
