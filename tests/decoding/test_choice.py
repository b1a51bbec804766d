"""Choosing tokens as transformers does, log-probabilities, seeds and stop strings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.choice import Choice, StopStrings
from latentvr.decoding.loop import generate
from latentvr.errors import RecipeError
from latentvr.reasoners.base import Stage

STAGE = Stage("test", CAUSAL)
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"temperature": 3.0, "top_k": 5},
    {"top_p": 0.7},
    {"min_p": 0.1, "temperature": 2.0},
    {"repetition_penalty": 1.5},
    {"temperature": 2.0, "top_k": 50, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2},
]


def _prompts(lab: Any, model: Any) -> dict[str, Any]:
    batch: dict[str, Any] = lab.batch(model, list(lab.records.values()), "left", answer=False)
    return batch


def _theirs(model: Any, batch: dict[str, Any], new: int, **settings: Any) -> list[list[int]]:
    off = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    out = model.backbone.model.generate(
        input_ids=batch["input_ids"],
        attention_mask=(batch["roles"] != Role.PAD).long(),
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
        max_new_tokens=new,
        suppress_tokens=model.get_buffer("excluded").tolist(),
        **{**off, **settings},
    )
    rows: list[list[int]] = out[:, batch["input_ids"].shape[1] :].tolist()
    return rows


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_same_draws_as_transformers(lab: Any, family: str, settings: dict[str, Any]) -> None:
    """From the same seed: another share of any token, or another order of the steps, moves a draw."""
    model = lab.model(family)
    batch = _prompts(lab, model)
    torch.manual_seed(11)
    theirs = _theirs(model, batch, 8, do_sample=True, **settings)
    decode = DecodeConfig(max_new_tokens=8, do_sample=True, **settings)
    ours = generate(model, batch, STAGE, decode, generator=torch.Generator().manual_seed(11))
    assert [row.ids for row in ours] == [row[: len(mine.ids)] for row, mine in zip(theirs, ours, strict=True)]
    assert max(len(row.ids) for row in ours) == 8


def test_a_penalty_changes_greedy_choice_as_in_transformers(lab: Any, family: str) -> None:
    model = lab.model(family)
    batch = _prompts(lab, model)
    penalised = DecodeConfig(max_new_tokens=8, repetition_penalty=3.0)
    ours = [row.ids for row in generate(model, batch, STAGE, penalised)]
    theirs = _theirs(model, batch, 8, do_sample=False, repetition_penalty=3.0)
    assert ours == [row[: len(mine)] for row, mine in zip(theirs, ours, strict=True)]
    assert ours != [row.ids for row in generate(model, batch, STAGE, DecodeConfig(max_new_tokens=8))]


def test_a_penalty_does_not_know_the_padding(lab: Any, family: str) -> None:
    """The padding's own id is made the likeliest: it must not lose by standing before a shorter prompt."""
    model = lab.model(family, untied=True)
    decode = DecodeConfig(max_new_tokens=1, repetition_penalty=50.0)
    for record in lab.records.values():
        alone = lab.batch(model, [record], "left", answer=False)
        with torch.no_grad():
            state = model.hidden(alone, model.features(alone), STAGE)[0, -1]
            model.backbone.model.lm_head.weight[0] = state
        padded = lab.batch(
            model, [record, lab.interleaved, lab.records["three images"]], "left", answer=False
        )
        assert generate(model, alone, STAGE, decode)[0].ids == [0]
        assert generate(model, padded, STAGE, decode)[0].ids == [0]


def _scores() -> Tensor:
    scores = torch.randn(4, 50, generator=torch.Generator().manual_seed(1)) * 3
    return scores.index_fill(1, torch.tensor([3, 7]), float("-inf"))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_log_probs_know_the_temperature_and_nothing_else(settings: dict[str, Any]) -> None:
    scores, text = _scores(), torch.arange(8).reshape(4, 2)
    decode = DecodeConfig(do_sample=True, **settings)
    ids, found = Choice(decode, torch.Generator().manual_seed(0))(scores.clone(), text)
    wanted = (scores / decode.temperature).log_softmax(-1)[torch.arange(4), ids]
    assert torch.allclose(found, wanted, atol=1e-6)
    assert not set(ids.tolist()) & {3, 7}


def test_greedy_choice_takes_no_temperature() -> None:
    scores = _scores()
    ids, found = Choice(DecodeConfig(temperature=9.0))(scores, None)
    assert ids.tolist() == scores.argmax(-1).tolist()
    assert torch.allclose(found, scores.log_softmax(-1).amax(-1), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [({"top_k": 2}, {0, 1}), ({"top_p": 0.6}, {0, 1}), ({"min_p": 0.3}, {0, 1}), ({"top_k": 1}, {0})],
    ids=str,
)
def test_unlikely_tokens_are_cut_off(settings: dict[str, Any], allowed: set[int]) -> None:
    scores = torch.tensor([0.5, 0.3, 0.1, 0.06, 0.04]).log().expand(400, 5)
    ids, _ = Choice(DecodeConfig(do_sample=True, **settings), torch.Generator().manual_seed(0))(scores, None)
    assert set(ids.tolist()) == allowed


def test_draws_follow_the_seed_of_decoding(lab: Any, family: str) -> None:
    model = lab.model(family)
    batch = _prompts(lab, model)

    def written(seed: int, generator: torch.Generator | None = None) -> list[list[int]]:
        decode = DecodeConfig(max_new_tokens=6, do_sample=True, temperature=5.0, seed=seed)
        return [row.ids for row in generate(model, batch, STAGE, decode, generator=generator)]

    torch.manual_seed(0)
    first = written(1)
    torch.manual_seed(1)
    assert written(1) == first
    assert written(2) != first
    given = torch.Generator().manual_seed(1)
    assert written(7, given) == first
    assert written(7, given) != first


TEXT = "naïve 日本語 says: 2 + 2 = 4, « done »"


@pytest.mark.parametrize("stop", ["日本", "ï", "s: 2", "= 4,", "« done »", "naïve 日本語 says", "e"])
def test_a_stop_string_is_found_as_soon_as_it_is_whole(lab: Any, family: str, stop: str) -> None:
    """In several tokens, inside one, and of characters that are several tokens themselves."""
    tokenizer = lab.stock(family)[1].tokenizer
    ids = tokenizer.encode(TEXT * 3)
    stops = StopStrings(tokenizer, ["never", stop])
    wanted = next(n for n in range(1, len(ids) + 1) if stop in tokenizer.decode(ids[:n]))
    assert next(n for n in range(1, len(ids) + 1) if stops(ids[:n][-stops.window :])) == wanted


def test_an_empty_stop_string_is_refused(lab: Any, family: str) -> None:
    with pytest.raises(
        RecipeError, match="expected stop strings of at least one character, got an empty one"
    ):
        StopStrings(lab.stock(family)[1].tokenizer, ["a", ""])


def test_rows_stop_on_their_own(lab: Any, family: str) -> None:
    """The text of three tokens that one row alone writes ends that row."""
    model = lab.model(family)
    batch, decode = _prompts(lab, model), DecodeConfig(max_new_tokens=8)
    tokenizer = model.processor.tokenizer
    free = generate(model, batch, STAGE, decode)
    texts = [tokenizer.decode(row.ids) for row in free]
    stop = tokenizer.decode(free[0].ids[1:4])
    others = [i for i, text in enumerate(texts) if stop not in text]
    assert others
    decode.stop_strings = [stop]
    rows = generate(model, batch, STAGE, decode)
    written = tokenizer.decode(rows[0].ids)
    assert rows[0].finish == "stop"
    assert stop in written
    assert stop not in tokenizer.decode(rows[0].ids[:-1])
    assert rows[0].text_ids == rows[0].ids == free[0].ids[: len(rows[0].ids)]
    assert [(rows[i].ids, rows[i].finish) for i in others] == [(free[i].ids, free[i].finish) for i in others]
