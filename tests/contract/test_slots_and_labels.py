"""Point 2: latents stand where the layout says, and nothing but the answer has a label.

Breaks when: a role is given by the wrong side of the answer's start, a latent id gets a label, an image
placeholder is not expanded to the image's own size, or a latent lands behind the answer.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.data.encode import IGNORED

SHAPES = ("one image", "two images", "interleaved")


def _latents_of_layout(model: Any, record: Any, visual: int) -> int:
    """Count latent positions in the layout: new tokens with the role, and images in the latents' place."""
    user = model.reasoner.layout(record).user
    texts = [t.text for t in model.reasoner.tokens() if t.role is Role.LATENT]
    tokens = sum(s.text.count(text) for s in user if s.kind == "tokens" for text in texts)
    return tokens + sum(visual for s in user if s.kind == "image" and s.role is Role.LATENT)


@pytest.mark.parametrize("shape", SHAPES)
def test_roles_are_those_of_the_layout(lab: Any, mask_model: Any, shape: str) -> None:
    model, record = mask_model, lab.records[shape]
    sample = lab.encode(model, [record])[0]
    counts = [model.processor.visual_tokens(row) for row in sample.grid]
    assert len(set(counts)) == 1
    assert int((sample.roles == Role.LATENT).sum()) == _latents_of_layout(model, record, counts[0])
    assert int((sample.roles == Role.IMAGE).sum()) == counts[0] * len(record.images)
    assert int((sample.ids == model.image_token_id).sum()) == sum(counts)
    assert not bool((sample.roles == Role.PAD).any())


@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_answer_and_its_end_have_labels(lab: Any, mask_model: Any, shape: str) -> None:
    model, record = mask_model, lab.records[shape]
    sample = lab.encode(model, [record])[0]
    answer = sample.roles == Role.ANSWER
    assert torch.equal(sample.labels, torch.where(answer, sample.ids, IGNORED))
    assert answer.nonzero().flatten().tolist()[0] >= sample.prompt_length
    text = model.processor.tokenizer.decode(sample.labels[answer])
    assert text == record.answer + model.processor.tokenizer.eos_token
    assert not bool((sample.roles[sample.prompt_length :] == Role.PROMPT).any())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_prompt_alone_is_the_sample_up_to_the_answer(lab: Any, mask_model: Any, shape: str) -> None:
    model, record = mask_model, lab.records[shape]
    whole = lab.encode(model, [record])[0]
    prompt = lab.encode(model, [record], answer=False)[0]
    length = whole.prompt_length
    assert torch.equal(prompt.ids, whole.ids[:length])
    assert torch.equal(prompt.roles, whole.roles[:length])
    assert torch.equal(prompt.positions, whole.positions[:, :length])


def test_latent_ids_are_never_predicted(mask_model: Any) -> None:
    model = mask_model
    logits = model.logits(torch.randn(3, model.backbone.width))
    silent = [t.text for t in model.reasoner.tokens() if not t.sampled]
    ids = [*model.processor.tokenizer.convert_tokens_to_ids(silent), *model.processor.never_sampled]
    assert torch.isneginf(logits[:, ids]).all()
    assert int(torch.isneginf(logits).sum()) == 3 * len(ids)
