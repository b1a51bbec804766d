"""Point 2: latents stand where the layout says, and nothing but the answer has a label.

Breaks when: a role is given by the wrong side of the answer's start, a latent id gets a label, an image
placeholder is not expanded to the image's own size, or a latent lands behind the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.data.encode import IGNORED

SHAPES = ("one image", "two images", "interleaved")


def _slots(model: Any, region: Any, sample: Any, references: Iterator[Any]) -> int:
    """Slots of a region: as many as it asks for, or one to a visual token that the box touches."""
    if region.pool is not None:
        return int(region.pool)
    if region.source == "crop":
        return int(model.processor.visual_tokens(next(references)))
    merge = model.processor.image_processor.merge_size
    rows, columns = (int(n) // merge for n in sample.grid[0, 1:])
    x0, y0, x1, y1 = region.box.box
    across = math.ceil(x1 * columns) - math.floor(x0 * columns)
    return across * (math.ceil(y1 * rows) - math.floor(y0 * rows))


def _latents_of_layout(model: Any, record: Any, sample: Any, visual: int) -> int:
    """Count latent positions in the layout: new tokens with the role, slots, images in the latents' place."""
    layout = model.reasoner.layout(record)
    segments = [*layout.user, *layout.answer]
    texts = [t.text for t in model.reasoner.tokens() if t.role is Role.LATENT]  # markers among them
    tokens = sum(s.text.count(text) for s in segments if s.kind == "tokens" for text in texts)
    references = iter(sample.reference_grid)
    slots = sum(_slots(model, s.region, sample, references) for s in segments if s.kind == "slots")
    return tokens + slots + sum(visual for s in segments if s.kind == "image" and s.role is Role.LATENT)


def _answer_text(model: Any, record: Any) -> str:
    """What the layout has the assistant write: text and markers, neither slots nor latents."""
    text = "".join(s.text for s in model.reasoner.layout(record).answer if s.kind != "slots")
    for token in model.reasoner.tokens():
        text = text.replace(token.text, "") if token.role is Role.LATENT and not token.sampled else text
    return text


@pytest.mark.parametrize("shape", SHAPES)
def test_roles_are_those_of_the_layout(lab: Any, mask_model: Any, shape: str) -> None:
    model, record = mask_model, lab.records[shape]
    sample = lab.encode(model, [record])[0]
    counts = [model.processor.visual_tokens(row) for row in sample.grid]
    assert len(set(counts)) == 1
    latents = _latents_of_layout(model, record, sample, counts[0])
    assert int((sample.roles == Role.LATENT).sum()) == latents
    assert int((sample.roles == Role.IMAGE).sum()) == counts[0] * len(record.images)
    assert int((sample.ids == model.image_token_id).sum()) == sum(counts)
    assert not bool((sample.roles == Role.PAD).any())


@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_answer_and_its_end_have_labels(lab: Any, mask_model: Any, shape: str) -> None:
    model, record = mask_model, lab.records[shape]
    sample = lab.encode(model, [record])[0]
    labelled = sample.labels != IGNORED
    assert torch.equal(sample.labels[labelled], sample.ids[labelled])
    assert labelled.nonzero().flatten().tolist()[0] >= sample.prompt_length
    assert bool(labelled[sample.roles == Role.ANSWER].all())
    text = model.processor.tokenizer.decode(sample.labels[labelled])
    assert text == _answer_text(model, record) + model.processor.tokenizer.eos_token
    assert record.answer in text
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
