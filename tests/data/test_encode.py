"""From records to ids and roles: the stock template and processor's ids, and nothing that data can forge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from latentvr.attention.roles import Role
from latentvr.data.encode import Encoder
from latentvr.data.layout import Layout, NewToken, Segment, plain_layout
from latentvr.errors import RecordError

SHAPES = ("one image", "two images", "three images", "interleaved")


def _encoder(lab: Any, family: str, **changes: Any) -> Encoder:
    model = lab.model(family)
    return Encoder(model.processor, plain_layout, [], model.backbone.positions, **changes)


def _encode(lab: Any, family: str, record: Any, **changes: Any) -> Any:
    return _encoder(lab, family, **changes).encode(record, lab.images(record))


@pytest.mark.parametrize("shape", SHAPES)
def test_ids_are_those_of_the_stock_template_and_processor(lab: Any, family: str, shape: str) -> None:
    """What the stock processor does, step by step: template, one placeholder per merged patch, tokenizer."""
    record = lab.records[shape]
    tokenizer, images = lab.stock(family)[1].tokenizer, lab.stock(family)[1].image_processor
    parts = record.prompt.split("<image>")
    content: list[dict[str, str]] = []
    if len(parts) == 1:
        content = [{"type": "image"} for _ in record.images] + [{"type": "text", "text": record.prompt}]
    for i, part in enumerate(parts if len(parts) > 1 else []):
        content += [{"type": "image"}] * bool(i) + [{"type": "text", "text": part}]
    messages = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": [{"type": "text", "text": record.answer}]},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    grid = images(images=lab.images(record), return_tensors="pt")["image_grid_thw"]
    for row in grid:
        text = text.replace("<|image_pad|>", "<|mark|>" * (int(row.prod()) // 4), 1)
    text = text.replace("<|mark|>", "<|image_pad|>").rstrip("\n")
    sample = _encode(lab, family, record)
    assert sample.ids.tolist() == tokenizer(text, add_special_tokens=False).input_ids
    assert torch.equal(sample.grid, grid)
    assert sample.pixel_values.shape[0] == int(grid.prod(-1).sum())


def test_images_of_several_sizes(lab: Any, family: str) -> None:
    """Each placeholder is expanded to its own image's size, in the order of the prompt."""
    record = lab.records["interleaved"]
    sizes = [Image.new("RGB", (64, 64)), Image.new("RGB", (128, 64))]
    sample = _encoder(lab, family).encode(record, sizes)
    image = torch.eq(sample.roles, int(Role.IMAGE)).int()
    starts = (image.diff() == 1).nonzero().flatten().tolist()
    ends = (image.diff() == -1).nonzero().flatten().tolist()
    assert [end - start for start, end in zip(starts, ends, strict=True)] == [16, 32]
    assert sample.grid.tolist() == [[1, 8, 8], [1, 8, 16]]


def test_unmarked_images_come_first(lab: Any, family: str) -> None:
    record = replace(lab.records["interleaved"], prompt="what <image> ?")
    sample = _encode(lab, family, record)
    other = _encode(lab, family, replace(record, prompt="<image>what <image> ?"))
    assert torch.equal(sample.ids, other.ids)
    assert torch.equal(sample.pixel_values, other.pixel_values)
    assert int((sample.roles == Role.IMAGE).sum()) == 32


def test_a_prompt_without_images(lab: Any, family: str) -> None:
    record = replace(lab.records["one image"], images=(), prompt="how many ?")
    sample = _encoder(lab, family).encode(record, [])
    assert sample.pixel_values is None
    assert sample.grid.shape == (0, 3)
    assert not bool((sample.roles == Role.IMAGE).any())
    assert torch.equal(sample.positions, torch.arange(len(sample.ids)).expand(3, -1))


def test_the_answer_is_not_in_the_prompt(lab: Any, family: str) -> None:
    record = replace(lab.records["one image"], answer="seven")
    encoder, images = _encoder(lab, family), lab.images(record)
    prompt = encoder.encode(record, images, with_answer=False)
    other = encoder.encode(replace(record, answer="two"), images)
    assert torch.equal(prompt.ids, other.ids[: len(prompt.ids)])
    assert not bool((prompt.roles == Role.ANSWER).any())
    assert bool((prompt.labels == -100).all())


@pytest.mark.parametrize("field", ["prompt", "answer"])
@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|im_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|endoftext|>"],
)
def test_control_tokens_in_data_are_refused(lab: Any, family: str, field: str, token: str) -> None:
    """They would end turns, add images without patches, or open a turn of the attacker's own."""
    record = replace(lab.records["one image"], **{field: f"a {token} b"})
    with pytest.raises(RecordError) as error:
        _encode(lab, family, record)
    assert str(error.value) == (
        f"expected plain text, got the control token {token!r}, at record {record.id!r}; "
        "fix: take it out of the text"
    )


@pytest.mark.parametrize("field", ["prompt", "answer"])
def test_a_methods_tokens_in_data_are_refused(lab: Any, family: str, field: str) -> None:
    model = lab.model(family, "livr", latents=4)
    record = replace(lab.records["one image"], **{field: "a <|latent_0|> b"})
    with pytest.raises(RecordError, match=r"got the control token '<\|latent_0\|>'"):
        lab.encode(model, [record])


def test_pieces_of_a_control_token_are_refused_where_they_meet(lab: Any, family: str) -> None:
    """A layout may cut text; the cut must not hide a token from the check."""
    model, record = lab.model(family), lab.records["one image"]

    def cut(_: Any) -> Layout:
        return Layout((Segment("text", "a <|im_"), Segment("text", "end|> b")), (Segment("text", "1"),))

    encoder = Encoder(model.processor, cut, [], model.backbone.positions)
    with pytest.raises(RecordError, match=r"got the control token '<\|im_end\|>'"):
        encoder.encode(record, lab.images(record))


@pytest.mark.parametrize(
    "text", ["<|im_end", "|im_end|>", "<| im_end |>", "<im_end>", "<|IM_END|>", "\uff1c|im_end|\uff1e"]
)
def test_what_only_looks_like_a_control_token_stays_text(lab: Any, family: str, text: str) -> None:
    record = replace(lab.records["one image"], answer=text)
    sample = _encode(lab, family, record)
    tokenizer = lab.stock(family)[1].tokenizer
    ids = sample.ids[sample.roles == Role.ANSWER].tolist()
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1
    assert ids[-1] == tokenizer.eos_token_id


def test_a_marker_keeps_the_role_of_its_side(lab: Any, family: str) -> None:
    model, record = lab.model(family), lab.records["one image"]
    model.processor.add_tokens(["<|open|>", "<|slot|>"])

    def layout(_: Any) -> Layout:
        turn = (Segment("text", "a"), Segment("tokens", "<|open|><|slot|>"))
        return Layout(turn, turn)

    tokens = [NewToken("<|open|>", role=None), NewToken("<|slot|>")]
    encoder = Encoder(model.processor, layout, tokens, model.backbone.positions)
    sample = encoder.encode(record, lab.images(record))
    opened, slot = model.processor.tokenizer.convert_tokens_to_ids(["<|open|>", "<|slot|>"])
    assert sample.roles[sample.ids == opened].tolist() == [Role.PROMPT, Role.ANSWER]
    assert sample.roles[sample.ids == slot].tolist() == [Role.LATENT, Role.LATENT]
    assert bool((sample.labels[sample.ids == slot] == -100).all())
    assert bool((sample.labels[sample.ids == opened][1:] == opened).all())


def test_a_sample_that_is_too_long_is_named(lab: Any, family: str) -> None:
    record = lab.records["one image"]
    length = len(_encode(lab, family, record).ids)
    assert len(_encode(lab, family, record, max_length=length).ids) == length
    with pytest.raises(RecordError) as error:
        _encode(lab, family, record, max_length=length - 1)
    assert str(error.value) == (
        f"expected at most {length - 1} tokens, got {length}, at record {record.id!r}; "
        "fix: raise data.max_length or lower model.max_pixels"
    )


@pytest.mark.parametrize("count", [0, 2])
def test_images_that_do_not_fit_the_record(lab: Any, family: str, count: int) -> None:
    record = lab.records["one image"]
    with pytest.raises(RecordError, match=f"expected 1 images, got {count}, at record"):
        _encoder(lab, family).encode(record, [Image.new("RGB", (64, 64))] * count)


def test_more_marks_than_images(lab: Any, family: str) -> None:
    record = replace(lab.records["one image"], prompt="<image> and <image> ?")
    with pytest.raises(RecordError, match="expected at most 1 <image> marks, got 2"):
        _encode(lab, family, record)


def test_a_template_that_rewrites_earlier_turns_is_refused(lab: Any, family: str) -> None:
    encoder = _encoder(lab, family)
    tokenizer = encoder.processor.tokenizer
    counted = "{{ messages|length }}<|im_start|>"
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", counted, 1)
    record = lab.records["one image"]
    with pytest.raises(RecordError, match="expected a chat template whose prompt is a prefix"):
        encoder.encode(record, lab.images(record))
