"""`generate` of transformers with our decoding behind it: the same ids, and nothing dropped silently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MaxTimeCriteria,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteriaList,
    StopStringCriteria,
    TopKLogitsWarper,
)

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.errors import ModelError, RecipeError
from latentvr.integrations.transformers_generate import custom_generate
from latentvr.reasoners.base import Stage

AS_STOCK = DecodeConfig(suppress=False)
ALL = {"temperature": 2.0, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2}


def _batch(lab: Any, model: Any, start: bool = False) -> dict[str, Any]:
    """Prompts of several lengths, padded on the left, with the start marker behind them or without."""
    ends = [model.reasoner.span().start] if start else [""]
    batch: dict[str, Any] = lab.collated(lab.prompts(model, list(lab.records.values()), ends))
    return batch


def _call(model: Any, batch: dict[str, Any], function: Any = None, **settings: Any) -> Tensor:
    """The stock model's `generate`, with our function or without."""
    out: Tensor = model.backbone.model.generate(
        input_ids=batch["input_ids"],
        attention_mask=(batch["roles"] != Role.PAD).long(),
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
        custom_generate=function,
        **{"max_new_tokens": 6, "do_sample": False, **settings},
    )
    return out


def _padded(model: Any, batch: dict[str, Any], rows: list[Any]) -> Tensor:
    longest, pad = max(len(row.ids) for row in rows), model.processor.tokenizer.pad_token_id
    added = [row.ids + [pad] * (longest - len(row.ids)) for row in rows]
    return torch.cat([batch["input_ids"], torch.tensor(added)], 1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_new_tokens": None, "max_length": 150},
        {"cache_implementation": "static"},
        {"repetition_penalty": 2.0},
        {"do_sample": True, **ALL},
        {"do_sample": True, "temperature": 3.0, "num_return_sequences": 3},
    ],
    ids=str,
)
def test_without_spans_it_is_transformers_own(lab: Any, family: str, settings: dict[str, Any]) -> None:
    model = lab.model(family)
    batch = _batch(lab, model)
    found = []
    for function in (None, custom_generate(model, AS_STOCK)):
        torch.manual_seed(3)
        found.append(_call(model, batch, function, **settings))
    assert torch.equal(*found)
    assert found[0].shape[0] == len(batch["input_ids"]) * settings.get("num_return_sequences", 1)


def test_rows_are_filled_up_after_their_end(lab: Any, family: str) -> None:
    """An end id of the call alone, which one row writes before the others."""
    model = lab.model(family)
    batch = _batch(lab, model)
    length, free = batch["input_ids"].shape[1], _call(model, batch)
    end = next(i for i in free[0, length:].tolist() if i not in free[1, length:].tolist())
    settings = {"eos_token_id": end, "pad_token_id": 5}
    stock, ours = (_call(model, batch, f, **settings) for f in (None, custom_generate(model, AS_STOCK)))
    assert torch.equal(stock, ours)
    assert ours[0, -1] == 5


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
@pytest.mark.parametrize("name", ["lvr", "livr"])
def test_with_latents_it_is_our_own(lab: Any, family: str, name: str, visibility: Any) -> None:
    """Latents in the prompt and in the answer; positions and roles are read from the ids."""
    model = lab.model(family, name)
    batch = _batch(lab, model, start=name == "lvr")
    decode = DecodeConfig(latent_steps=3)
    rows = generate(model, batch, Stage("test", visibility), replace(decode, max_new_tokens=6))
    found = _call(model, batch, custom_generate(model, decode, visibility.name))
    assert torch.equal(found, _padded(model, batch, rows))
    assert any(any(row.slot) for row in rows) is (name == "lvr")
    assert all(len(row.prompt_latents) for row in rows) is (name == "livr")


def test_stop_strings_go_in_as_a_criterion(lab: Any, family: str) -> None:
    model = lab.model(family)
    batch, tokenizer = _batch(lab, model), model.processor.tokenizer
    free = _call(model, batch)[:, batch["input_ids"].shape[1] :].tolist()
    written = next(text for row in free if (text := tokenizer.decode(row[1:3])))
    criteria = StoppingCriteriaList([StopStringCriteria(tokenizer, written)])
    stock, ours = (
        _call(model, batch, f, stopping_criteria=criteria) for f in (None, custom_generate(model, AS_STOCK))
    )
    assert torch.equal(stock, ours)


class _Own(TopKLogitsWarper):
    """A processor that nobody knows."""


def _later_text_alone() -> LogitsProcessorList:
    return LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.5, prompt_ignore_length=4)])


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"num_beams": 2}, "got beam_search"),
        ({"num_beams": 2, "do_sample": True}, "got beam_sample"),
        ({"prompt_lookup_num_tokens": 3}, "got assisted_generation"),
        ({"min_new_tokens": 2}, "got MinLengthLogitsProcessor|got MinNewTokens"),
        ({"no_repeat_ngram_size": 2}, "got NoRepeatNGramLogitsProcessor"),
        ({"bad_words_ids": [[7]]}, "got NoBadWordsLogitsProcessor|got SequenceBiasLogitsProcessor"),
        ({"suppress_tokens": [7]}, "got SuppressTokensLogitsProcessor"),
        ({"do_sample": True, "typical_p": 0.5}, "got TypicalLogitsWarper"),
        ({"logits_processor": LogitsProcessorList([_Own(3)])}, "got _Own"),
        ({"stopping_criteria": StoppingCriteriaList([MaxTimeCriteria(9.0)])}, "got MaxTimeCriteria"),
        ({"return_dict_in_generate": True}, "got return_dict_in_generate"),
        ({"cache_implementation": "offloaded"}, "got 'offloaded'"),
        ({"repetition_penalty": 1.5, "logits_processor": _later_text_alone()}, "got RepetitionPenalty"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_honoured_is_refused(lab: Any, settings: dict[str, Any], got: str) -> None:
    model = lab.model("tiny-qwen2.5-vl")
    with pytest.raises(RecipeError, match=got):
        _call(model, _batch(lab, model), custom_generate(model), **settings)


def test_stop_strings_of_decode_are_refused(lab: Any) -> None:
    with pytest.raises(RecipeError, match="expected stop strings as a StopStringCriteria"):
        custom_generate(lab.model("tiny-qwen2.5-vl"), DecodeConfig(stop_strings=["x"]))


def test_padding_on_the_right_and_another_model_are_refused(lab: Any) -> None:
    model, other = (lab.model("tiny-qwen2.5-vl") for _ in range(2))
    batch = _batch(lab, model)
    with pytest.raises(ModelError, match="expected the model inside the LatentModel"):
        _call(model, batch, custom_generate(other))
    batch["roles"][0, -1] = int(Role.PAD)
    with pytest.raises(RecipeError, match="expected prompts padded on the left"):
        _call(model, batch, custom_generate(model))
