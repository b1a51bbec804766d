"""Where LIVR puts its latents, and which rows they use."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.data.record import Record
from latentvr.reasoners.livr.config import Config, default_stages
from latentvr.reasoners.livr.reasoner import Reasoner

RECORD = Record("r", "t", "train", ("a.png", "b.png"), "what ?", "A")
MARKED = Record("m", "t", "train", ("a.png", "b.png"), "in <image> and <image> what ?", "A")
BARE = Record("n", "t", "train", (), "what ?", "A")


def _kinds(reasoner: Reasoner, record: Record) -> list[str]:
    names = {"image": "I", "text": "T", "tokens": "L"}
    return [names[s.kind] if s.role is not Role.LATENT else "C" for s in reasoner.layout(record).user]


@pytest.mark.parametrize(
    ("options", "record", "wanted"),
    [
        ({}, RECORD, "IITL"),
        ({}, MARKED, "TITITL"),
        ({}, BARE, "TL"),
        ({"place": "before"}, RECORD, "IILT"),
        ({"place": "before"}, MARKED, "TITILT"),
        ({"place": "before"}, BARE, "LT"),
        ({"latents": 0}, RECORD, "IIT"),
        ({"image_twice": True}, RECORD, "IITCC"),
        ({"image_twice": True}, MARKED, "TITITCC"),
    ],
)
def test_places(options: dict[str, Any], record: Record, wanted: str) -> None:
    assert "".join(_kinds(Reasoner(Config(**options)), record)) == wanted


@pytest.mark.parametrize(
    ("options", "rows", "slots"),
    [
        ({}, 16, 16),
        ({"latents": 5}, 5, 5),
        ({"latents": 5, "shared": True}, 1, 5),
        ({"latents": 0}, 0, 0),
        ({"latents": 0, "shared": True}, 0, 0),
        ({"image_twice": True}, 0, 0),
    ],
)
def test_rows_and_slots(options: dict[str, Any], rows: int, slots: int) -> None:
    reasoner = Reasoner(Config(**options))
    texts = [token.text for token in reasoner.tokens()]
    assert len(set(texts)) == len(texts) == rows
    written = "".join(s.text for s in reasoner.layout(RECORD).user if s.kind == "tokens")
    assert written.count("<|latent_") == slots
    if rows == slots:
        assert written == "".join(texts)


def test_latents_end_the_users_turn(lab: Any, family: str) -> None:
    """A chat template alone can add them there, before the end-of-turn marker."""
    model = lab.model(family, "livr", latents=3)
    sample = lab.encode(model, [lab.records["one image"]])[0]
    where = (sample.roles == Role.LATENT).nonzero().flatten().tolist()
    tokenizer = model.processor.tokenizer
    assert where == list(range(where[0], where[0] + 3))
    latents = tokenizer.convert_tokens_to_ids([f"<|latent_{i}|>" for i in range(3)])
    assert sample.ids[where].tolist() == latents
    rest = tokenizer.decode(sample.ids[where[-1] + 1 : sample.prompt_length])
    assert rest == "<|im_end|>\n<|im_start|>assistant\n"


def test_the_answer_has_no_latents() -> None:
    for options in ({}, {"place": "before"}, {"image_twice": True}):
        assert [s.kind for s in Reasoner(Config(**options)).layout(RECORD).answer] == ["text"]


def test_a_shared_row_gets_the_gradient_of_all_its_slots(lab: Any, family: str) -> None:
    model = lab.model(family, "livr", latents=4, shared=True)
    ids = model.rows.get_buffer("ids")
    batch = {"input_ids": ids.expand(1, 4), "roles": torch.full((1, 4), int(Role.LATENT))}
    model.rows.requires_grad_(True)
    model.embeds(batch, None, None).sum().backward()
    assert torch.equal(model.rows.rows.grad, torch.full((1, 128), 4.0))


def test_the_papers_schedule() -> None:
    stages = default_stages()
    assert [(n, s.epochs, s.visibility) for n, s in stages.items()] == [
        ("bottleneck", 4, "bottleneck"),
        ("causal", 6, "causal"),
    ]
    assert Config().latents == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latents": -1}, "latents: expected at least 0, got -1; fix: write a number in this range"),
        ({"init_std": -0.1}, "init_std: expected at least 0, got -0.1; fix: write a number in this range"),
        (
            {"init_std": float("nan")},
            "init_std: expected at least 0, got nan; fix: write a number in this range",
        ),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    assert Config(**options).problems() == [message]
