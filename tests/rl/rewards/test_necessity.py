"""The necessity reward compares each completion with one answer that its prompt gets without latents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.decoding.loop import generate
from latentvr.errors import UserError
from latentvr.models.features import cache_features
from latentvr.reasoners.base import Stage
from latentvr.rl.rewards.necessity import necessity_reward

BONUS = 0.8


def expecting(chosen: Any, row: int, answer: str) -> Any:
    """The round with an expected answer of one record, and one that nobody writes of the others."""
    answers = [answer if i == row else "neither of them" for i in range(len(chosen.records))]
    pairs = zip(chosen.records, answers, strict=True)
    records = [replace(record, answer=text, answer_type="text", choices=()) for record, text in pairs]
    return replace(chosen, records=records)


def without_slots(chosen: Any) -> str:
    """What the first prompt gets if a span is opened and closed at once, its markers ordinary text."""
    model, span = chosen.model, chosen.model.reasoner.span()
    markers = [model.token_ids[token] for token in (span.start, *span.end)]
    prompt = chosen.lab.went_on(model, chosen.samples[0], markers)
    prompt.roles[-len(markers) :] = int(Role.ANSWER)
    room = replace(chosen.decode, max_new_tokens=chosen.decode.max_new_tokens - len(markers))
    (row,) = generate(model, chosen.lab.collated([prompt]), chosen.stage, room)
    return str(model.processor.tokenizer.decode(row.ids, skip_special_tokens=True))


def dropped(chosen: Any) -> list[str]:
    """What all prompts get if latents are left out of them."""
    batch = chosen.lab.batch(chosen.model, chosen.records, "left", answer=False, drop=True)
    return [chosen.text(row) for row in generate(chosen.model, batch, chosen.stage, chosen.decode)]


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_spans_are_opened_and_closed_with_nothing_between(make_in_spans: Any, visibility: Visibility) -> None:
    """Breaks when latents are fed all the same, or markers see the image as latents do."""
    chosen = make_in_spans(stage=Stage("rollout", visibility))
    rows = chosen.write()
    text, other = chosen.text(rows[0]), without_slots(chosen)
    assert text != other
    for answer, expected in ((text, BONUS), (other, -BONUS / 2), ("neither", 0.0)):
        found = expecting(chosen, 0, answer).reward(necessity_reward, rows, necessity_bonus=BONUS)
        assert found == [expected, 0.0]
    same = expecting(chosen, 1, chosen.text(rows[1]))
    assert same.reward(necessity_reward, rows, necessity_bonus=BONUS) == [0.0, -BONUS / 2]
    assert all(s.features is None and s.pixel_values is not None for s in chosen.samples)


@pytest.mark.parametrize("options", [{"latents": 4, "init_std": 1.0}, {"image_twice": True}], ids=str)
@pytest.mark.parametrize("cached", [False, True])
def test_latents_are_left_out_of_prompts(make_in_prompts: Any, options: dict[str, Any], cached: bool) -> None:
    """Breaks when features are those of other images, or the caller's samples are changed."""
    chosen = make_in_prompts(**options)
    if cached:
        cache_features(chosen.model, chosen.samples)
    before = [(len(s.ids), s.features, s.pixel_values) for s in chosen.samples]
    rows, others = chosen.write(2), dropped(chosen)
    for i, other in enumerate(others):
        text = chosen.text(rows[2 * i])
        assert text != other
        for answer, expected in ((text, BONUS), (other, -BONUS / 2), ("neither", 0.0)):
            found = expecting(chosen, i, answer).reward(necessity_reward, rows, necessity_bonus=BONUS)
            assert found[2 * i : 2 * i + 2] == [expected] * 2
            assert found[2 - 2 * i : 4 - 2 * i] == [0.0] * 2
    after = [(len(s.ids), s.features, s.pixel_values) for s in chosen.samples]
    assert all(a is b or a == b for old, new in zip(before, after, strict=True)
               for a, b in zip(old, new, strict=True))  # fmt: skip


def test_the_answer_without_latents_is_the_likeliest(in_prompts: Any) -> None:
    rows, other = in_prompts.write(), dropped(in_prompts)[0]
    in_prompts.decode = replace(in_prompts.decode, do_sample=True, temperature=5.0)
    found = expecting(in_prompts, 0, other).reward(necessity_reward, rows, necessity_bonus=BONUS)
    assert found[0] == -BONUS / 2


def test_each_completion_is_judged_for_itself(in_prompts: Any) -> None:
    rows = in_prompts.write(2)
    rows[1] = replace(rows[1], ids=rows[1].ids[:3])
    found = expecting(in_prompts, 0, in_prompts.text(rows[0])).reward(necessity_reward, rows)
    assert found[:2] == [0.5, 0.0]


def test_nothing_is_left_for_autograd(in_prompts: Any) -> None:
    for parameter in in_prompts.model.parameters():
        parameter.requires_grad_(True)
    with torch.enable_grad():
        in_prompts.reward(necessity_reward, in_prompts.write())
    assert all(s.features is None or not s.features.requires_grad for s in in_prompts.samples)


def test_a_method_without_latents_has_no_necessity(make_in_prompts: Any) -> None:
    plain = make_in_prompts("direct")
    with pytest.raises(UserError, match="expected a method with latents, got 'direct'"):
        plain.reward(necessity_reward, plain.write())
