"""The decoding loop: greedy choice, end of rows, scores, and an image seen through the latents alone."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.reasoners.base import Stage

STAGE = Stage("test", CAUSAL)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="flex attention on a CPU needs g++")


def _prompts(lab: Any, model: Any, *names: str, drop: bool = False) -> dict[str, Any]:
    records = [lab.records[name] for name in names or lab.records]
    batch: dict[str, Any] = lab.batch(model, records, "left", answer=False, drop=drop)
    return batch


def test_the_stock_models_greedy_search_writes_the_same(lab: Any, family: str) -> None:
    """Against `generate` of transformers, its forbidden ids suppressed too."""
    model = lab.model(family)
    batch = _prompts(lab, model)
    ours = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=6))
    stock = lab.stock(family)[0].eval()
    theirs = stock.generate(
        input_ids=batch["input_ids"],
        attention_mask=(batch["roles"] != Role.PAD).long(),
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
        max_new_tokens=6,
        do_sample=False,
        suppress_tokens=model.get_buffer("excluded").tolist(),
    )[:, batch["input_ids"].shape[1] :]
    end = model.processor.tokenizer.eos_token_id
    for row, other in zip(ours, theirs.tolist(), strict=True):
        assert row.ids == (other[: other.index(end) + 1] if end in other else other)


def test_rows_end_on_their_own(lab: Any, family: str) -> None:
    """The end token is made the choice of each row at its own step, by its log-probability there."""
    model = lab.model(family)
    batch = _prompts(lab, model, "one image", "two images")
    free = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=5))
    end = next(i for i in free[0].ids if i not in free[1].ids)
    model.processor.tokenizer.eos_token = model.processor.tokenizer.convert_ids_to_tokens(end)
    first, second = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=5))
    assert first.ids == free[0].ids[: free[0].ids.index(end) + 1]
    assert first.text_ids == first.ids[:-1]
    assert first.log_probs == free[0].log_probs[: len(first.ids)]
    assert (first.finish, second.finish) == ("end", "length")
    assert second.ids == free[1].ids
    assert second.log_probs == free[1].log_probs


def test_an_end_id_of_the_generation_config_ends_a_row_too(lab: Any, family: str) -> None:
    model = lab.model(family)
    batch = _prompts(lab, model, "one image", "two images")
    free = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=5))
    end = next(i for i in free[0].ids if i not in free[1].ids)
    model.backbone.model.generation_config.eos_token_id = [model.processor.tokenizer.eos_token_id, end]
    first, second = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=5))
    assert first.ids == free[0].ids[: free[0].ids.index(end) + 1]
    assert second.ids == free[1].ids


def test_decoding_stops_when_every_row_has_ended(lab: Any, family: str) -> None:
    """By end ids of the call alone; one forward more would be seen."""
    model = lab.model(family)
    batch = _prompts(lab, model)
    free = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=9))
    ends = [row.ids[min(i, 2)] for i, row in enumerate(free)]
    forwards: list[int] = []
    rows = generate(
        model, batch, STAGE, DecodeConfig(max_new_tokens=9), ends=ends, watch=lambda n, *_: forwards.append(n)
    )
    longest = max(len(row.ids) for row in rows)
    assert longest <= 3
    assert forwards == list(range(longest))
    for row, other in zip(rows, free, strict=True):
        assert row.finish == "end"
        assert row.ids == other.ids[: len(row.ids)]
        assert row.ids[-1] in ends
        assert not set(row.ids[:-1]) & set(ends)


@pytest.mark.parametrize("name", ["direct", "livr"])
def test_a_static_cache_and_shared_prefills_change_nothing(lab: Any, family: str, name: str) -> None:
    model = lab.model(family, name)
    batch = _prompts(lab, model)
    rows = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=5))
    fixed = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=5, cache="static"), rollouts=2)
    assert len(fixed) == 2 * len(rows)
    for i, row in enumerate(fixed):
        assert row.ids == rows[i // 2].ids
        assert row.log_probs == pytest.approx(rows[i // 2].log_probs, abs=1e-5)
        assert torch.equal(row.prompt_latents, rows[i // 2].prompt_latents)


def test_log_probs_are_natural_and_of_the_tokens_written(lab: Any, family: str) -> None:
    model = lab.model(family)
    batch = _prompts(lab, model, "one image")
    row = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=1))[0]
    with torch.no_grad():
        scores = model.logits(model.hidden(batch, model.features(batch), STAGE)[0, -1]).softmax(-1)
    assert torch.tensor(row.log_probs[0]).exp().item() == pytest.approx(float(scores.max()), rel=1e-5)
    assert row.ids == [int(scores.argmax())]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_no_row_is_longer_than_asked(lab: Any, family: str, length: int) -> None:
    model = lab.model(family)
    rows = generate(model, _prompts(lab, model), STAGE, DecodeConfig(max_new_tokens=length))
    assert max(len(row.ids) for row in rows) == length


def test_latents_are_given_back_row_by_row(lab: Any, family: str) -> None:
    model = lab.model(family, "livr", latents=4)
    batch = _prompts(lab, model)
    rows = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=1))
    with torch.no_grad():
        hidden = model.hidden(batch, model.features(batch), STAGE)
    for row, states, roles in zip(rows, hidden, batch["roles"], strict=True):
        assert row.prompt_latents.shape == (4, 128)
        assert torch.allclose(row.prompt_latents, states[roles == Role.LATENT])


def test_strict_decoding_without_latents_is_blind(lab: Any, family: str) -> None:
    """Bottleneck at test with the latents left out: other pixels, the same answer and scores to the bit."""
    model = lab.model(family, "livr", latents=4)
    batch = _prompts(lab, model, drop=True)
    other = {**batch, "pixel_values": torch.randn_like(batch["pixel_values"])}
    blind = Stage("test", BOTTLENECK)
    one, two = (
        generate(model, batch, blind, DecodeConfig(max_new_tokens=5)),
        generate(model, other, blind, DecodeConfig(max_new_tokens=5)),
    )
    assert [(row.ids, row.log_probs) for row in one] == [(row.ids, row.log_probs) for row in two]
    seeing = generate(model, other, STAGE, DecodeConfig(max_new_tokens=5))
    assert [row.log_probs for row in generate(model, batch, STAGE, DecodeConfig(max_new_tokens=5))] != [
        row.log_probs for row in seeing
    ]


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
@pytest.mark.parametrize("kernel", ["two_pass", "varlen", pytest.param("flex", marks=needs_compiler)])
def test_every_kernel_decodes_as_the_mask_does(
    lab: Any, family: str, kernel: str, visibility: Visibility
) -> None:
    """Rows of several lengths: a kernel that loses padding or visibility in a step writes other scores."""
    stage = Stage("test", visibility)
    found = []
    for name in (kernel, "mask"):
        model = lab.model(family, "livr", name, latents=4)
        found.append(generate(model, _prompts(lab, model), stage, DecodeConfig(max_new_tokens=4)))
    for row, wanted in zip(*found, strict=True):
        assert row.ids == wanted.ids
        assert row.log_probs == pytest.approx(wanted.log_probs, abs=1e-4)


def test_the_batch_is_left_as_it_was(lab: Any, family: str) -> None:
    model = lab.model(family)
    batch = _prompts(lab, model)
    before = {k: v.clone() for k, v in batch.items() if torch.is_tensor(v)}
    generate(model, batch, STAGE, DecodeConfig(max_new_tokens=3))
    assert all(torch.equal(batch[k], v) for k, v in before.items())


@pytest.mark.parametrize("trains", [False, True])
def test_what_comes_back_may_meet_autograd(lab: Any, family: str, trains: bool) -> None:
    """Latents are fed again in training; a tensor of inference mode would be refused there."""
    model = lab.model(family, "lvr")
    model.rows.requires_grad_(trains)
    batch = lab.collated(lab.prompts(model, [lab.interleaved], [model.reasoner.span().start]))
    (row,) = generate(model, batch, STAGE, DecodeConfig(max_new_tokens=4, latent_steps=2))
    assert row.fed.shape[0] == 2
    weight = torch.ones(row.fed.shape[1], requires_grad=True)
    (row.fed * weight).sum().backward()
    assert torch.allclose(weight.grad, row.fed.sum(0))
    assert not row.prompt_latents.is_inference()
    assert not model.rows.rows.is_inference()
    assert not batch["input_ids"].is_inference()
