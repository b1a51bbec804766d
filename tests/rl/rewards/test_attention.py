"""The attention reward is a mean of the stock model's weights, with the latents that were recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentvr.attention.kernels import prepare
from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.errors import UserError
from latentvr.reasoners.base import Stage
from latentvr.rl.rewards.attention import attention_reward


@torch.no_grad()
def by_hand(chosen: Any, row: int, rollout: Any, layers: list[int]) -> float:
    """The same from the attentions that the stock decoder returns, for one completion without padding."""
    model, sample, visibility = chosen.model, chosen.samples[row], chosen.stage.visibility
    whole = chosen.lab.collated([chosen.lab.went_on(model, sample, rollout.ids, rollout.slot)])
    features, text = model.features(whole), model.backbone.text_config
    deep = {}
    if len(features) > 1:
        visual = torch.eq(whole["input_ids"], model.image_token_id)
        deep = {"visual_pos_masks": visual, "deepstack_visual_embeds": list(features[1:])}
    before = text._attn_implementation
    model.backbone.model.set_attn_implementation({"text_config": "eager"})
    attentions = model.backbone.language_model(
        inputs_embeds=model.embeds(whole, features, rollout.fed if len(rollout.fed) else None),
        position_ids=model.backbone.rotary_positions(whole["position_ids"]),
        attention_mask=prepare(
            "mask", visibility, whole["roles"], dtype=torch.float32, eager=True
        ).attention_mask,
        output_attentions=True,
        use_cache=False,
        **deep,
    ).attentions
    model.backbone.model.set_attn_implementation({"text_config": before})
    ids, start = whole["input_ids"][0].tolist(), len(sample.ids)
    span = model.reasoner.span()
    if span is None:
        keys = [i for i, role in enumerate(whole["roles"][0].tolist()) if role == Role.LATENT]
        queries = list(range(start, len(ids)))
    else:
        keys = [i for i in range(start, len(ids)) if ids[i] == model.token_ids[span.slot]]
        markers = {model.token_ids[token] for token in (span.start, *span.end)}
        queries = [i for i in range(keys[-1], len(ids)) if i not in keys and ids[i] not in markers]
    assert keys
    assert queries
    taken = [attentions[n][0] for n in layers or range(len(attentions))]
    sums = [float(weights[h, q, keys].sum()) for weights in taken for h in range(len(weights))
            for q in queries]  # fmt: skip
    return sum(sums) / len(sums)


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
@pytest.mark.parametrize("layers", [[], [1]], ids=str)
def test_spans_are_read_as_the_stock_model_weighs_them(
    make_in_spans: Any, layers: list[int], visibility: Visibility
) -> None:
    """Breaks when other latents are fed than were recorded, or a layer, token or marker too many counts."""
    in_spans = make_in_spans(stage=Stage("rollout", visibility))
    rows = in_spans.write()
    noise = torch.randn(rows[0].fed.shape, generator=torch.Generator().manual_seed(0))
    rows[0] = replace(rows[0], fed=noise, spans=[noise])
    found = in_spans.reward(attention_reward, rows, attention_layers=layers)
    assert found[0] == pytest.approx(by_hand(in_spans, 0, rows[0], layers), abs=1e-6)
    assert 0 < found[0] < 1
    assert found[1] == 0.0  # it never was in latent mode


def test_text_between_spans_does_not_count(in_spans: Any) -> None:
    row = in_spans.write()[0]
    ids, slot, sampled = (part[:7] + part for part in (row.ids, row.slot, row.sampled))
    fed = torch.randn(6, row.fed.shape[1], generator=torch.Generator().manual_seed(0))
    twice = replace(row, ids=ids, slot=slot, sampled=sampled, fed=fed, spans=list(fed.split(3)))
    found = in_spans.reward(attention_reward, [twice, twice, row, row])
    assert found[0] == pytest.approx(by_hand(in_spans, 0, twice, []), abs=1e-6)


def test_an_end_vector_is_no_latent(make_in_spans: Any) -> None:
    chosen = make_in_spans(layout="A", end_vector=True)
    rows = chosen.write()
    assert len(rows[0].fed) == 4
    assert len(rows[0].spans[0]) == 3
    found = chosen.reward(attention_reward, rows)
    assert found[0] == pytest.approx(by_hand(chosen, 0, rows[0], []), abs=1e-6)


def test_prompts_are_read_as_the_stock_model_weighs_them(in_prompts: Any) -> None:
    rows = in_prompts.write(2)
    rows[1] = replace(rows[1], ids=rows[1].ids[:4], slot=rows[1].slot[:4], sampled=rows[1].sampled[:4])
    found = in_prompts.reward(attention_reward, rows)
    expected = [by_hand(in_prompts, i // 2, row, []) for i, row in enumerate(rows)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert len({round(share, 4) for share in expected}) == 3


def test_nothing_after_the_latents_gives_nothing(in_spans: Any) -> None:
    row = in_spans.write()[0]
    for length in (4, 5):  # start and latents; and the end marker
        cut = replace(row, ids=row.ids[:length], slot=row.slot[:length], sampled=row.sampled[:length])
        assert in_spans.reward(attention_reward, [cut, in_spans.write()[1]]) == [0.0, 0.0]


def test_the_model_is_as_before(in_prompts: Any) -> None:
    kernel = in_prompts.model.backbone.text_config._attn_implementation
    in_prompts.reward(attention_reward, in_prompts.write())
    assert in_prompts.model.backbone.text_config._attn_implementation == kernel
    assert not in_prompts.model.training


def test_layers_that_the_model_lacks_are_refused(in_prompts: Any) -> None:
    with pytest.raises(UserError, match=r"from 0 to \d+, got \[99\]"):
        in_prompts.reward(attention_reward, in_prompts.write(), attention_layers=[0, 99])


def test_a_method_without_latents_is_refused(make_in_prompts: Any) -> None:
    plain = make_in_prompts("direct")
    with pytest.raises(UserError, match="expected a method with latents, got 'direct'"):
        plain.reward(attention_reward, plain.write())
