"""LVR: where its spans stand, what its slots stand for, distances, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latentvr.attention.visibility import CAUSAL
from latentvr.data.record import Box, Record
from latentvr.errors import ModelError, RecordError
from latentvr.evaluation.prompts import encoder_for
from latentvr.reasoners.base import Stage
from latentvr.reasoners.lvr.config import Config, default_stages
from latentvr.reasoners.lvr.losses import distances, region_means
from latentvr.reasoners.lvr.reasoner import Reasoner

STAGE = Stage("s", CAUSAL)
BOX, OTHER = Box(0, (0.0, 0.0, 0.5, 0.25)), Box(1, (0.5, 0.5, 1.0, 1.0))
RECORD = Record("r", "t", "train", ("a.png", "b.png"), "what ?", "A", bboxes=(BOX, OTHER))


def _written(options: dict[str, Any], record: Record) -> str:
    segments = Reasoner(Config(**options)).layout(record).answer
    return "".join(f"[{s.text}]" if s.kind == "slots" else s.text for s in segments)


SPAN_B = "<|lvr_start|>[<|lvr|>]<|lvr_end|>"
SPAN_A = "<|lvr_start|>[<|lvr|>]<|lvr_latent_end|><|lvr_end|>"


@pytest.mark.parametrize(
    ("options", "changes", "wanted"),
    [
        ({}, {"bboxes": (BOX,)}, f"{SPAN_B}\n<answer> A </answer>"),
        ({"layout": "A"}, {"bboxes": (BOX,)}, f"{SPAN_A}\n<answer> A </answer>"),
        ({}, {}, f"{SPAN_B}{SPAN_B}\n<answer> A </answer>"),
        ({"wrap_answer": False}, {"bboxes": (BOX,)}, f"{SPAN_B}\nA"),
        ({}, {"response": "see <lvr> and <lvr> so A"}, f"see {SPAN_B} and {SPAN_B} so A"),
        ({"layout": "A"}, {"response": "<lvr><lvr>A"}, f"{SPAN_A}{SPAN_A}A"),
        ({"boxless": "plain"}, {"bboxes": ()}, "<answer> A </answer>"),
        ({"boxless": "plain", "wrap_answer": False}, {"bboxes": ()}, "A"),
        ({"boxless": "plain"}, {"bboxes": (), "response": "it is A"}, "it is A"),
    ],
)
def test_the_answer(options: dict[str, Any], changes: dict[str, Any], wanted: str) -> None:
    assert _written(options, replace(RECORD, **changes)) == wanted


@pytest.mark.parametrize(("response", "got"), [("no span", 0), ("<lvr>", 1), ("<lvr><lvr><lvr>", 3)])
def test_placeholders_and_boxes_must_agree(response: str, got: int) -> None:
    with pytest.raises(RecordError) as error:
        Reasoner(Config()).layout(replace(RECORD, response=response))
    assert str(error.value) == (
        f"expected one <lvr> in the response for each box, got {got} for 2 boxes, at record 'r'; "
        "fix: write as many as there are bboxes"
    )


@pytest.mark.parametrize(
    ("options", "source", "pool"),
    [
        ({}, "input", None),
        ({"pool": 3}, "input", 3),
        ({"target": "crop"}, "crop", None),
        ({"hide_region": True}, "original", None),
        ({"hide_region": True, "target": "crop"}, "crop", None),
    ],
)
def test_what_slots_stand_for(options: dict[str, Any], source: str, pool: int | None) -> None:
    layout = Reasoner(Config(**options)).layout(RECORD)
    regions = [segment.region for segment in layout.answer if segment.kind == "slots"]
    assert [(r.box, r.source, r.pool) for r in regions if r] == [(BOX, source, pool), (OTHER, source, pool)]
    hidden = [segment.hidden for segment in layout.user if segment.kind == "image"]
    assert hidden == ([(BOX,), (OTHER,)] if options.get("hide_region") else [(), ()])


def test_training_records_without_boxes_are_refused(lab: Any, family: str) -> None:
    """A prompt alone needs no boxes; with `boxless: plain` an answer needs none either."""
    model, record = lab.model(family, "lvr"), replace(lab.records["one image"], bboxes=())
    with pytest.raises(
        RecordError, match="expected bboxes of the regions that latent slots stand for, got none"
    ):
        lab.encode(model, [record])
    prompt = lab.encode(model, [record], answer=False)[0]
    assert not len(prompt.slots)
    plain = lab.encode(lab.model(family, "lvr", boxless="plain"), [record])[0]
    assert not len(plain.slots)
    assert torch.equal(plain.ids[: plain.prompt_length], prompt.ids)


def test_region_means_are_means_by_slot() -> None:
    features = torch.randn(2, 6, 4)
    pairs = torch.tensor([[0, 5], [1, 1], [1, 2], [2, 2], [2, 3], [2, 0]])
    found = region_means({"slots": pairs}, features, 3)
    wanted = [features[0, [5]].mean(0), features[0, [1, 2]].mean(0), features[0, [2, 3, 0]].mean(0)]
    assert torch.allclose(found, torch.stack(wanted))
    single = region_means({"slots": pairs[:1]}, features, 1)
    assert torch.equal(single, features[0, [5]])


@pytest.mark.parametrize(
    ("slots", "there", "referred"), [([[0, 1], [1, 2]], 3, 2), ([[0, 1], [1, 2]], 1, 2), (None, 2, 0)]
)
def test_slots_without_a_region_are_refused(slots: Any, there: int, referred: int) -> None:
    batch = {} if slots is None else {"slots": torch.tensor(slots)}
    with pytest.raises(ModelError, match=f"got {there} tokens for {referred} slots, at the batch"):
        region_means(batch, torch.randn(1, 4, 8), there)


def test_distances_are_the_plain_formulas() -> None:
    a, b = torch.randn(5, 7), torch.randn(5, 7)
    x, y = a.numpy().astype(np.float64), b.numpy().astype(np.float64)
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    wanted = {"mse": ((x - y) ** 2).mean(1), "mae": abs(x - y).mean(1), "cosine": 1 - cosine}
    for kind, values in wanted.items():
        assert np.allclose(distances(a, b, kind).numpy(), values, atol=1e-6), kind
        one = distances(a, b[0], kind)
        assert torch.allclose(one[0], distances(a[:1], b[:1], kind)[0])
        assert one.shape == (5,)
        assert distances(a.bfloat16(), b.bfloat16(), kind).dtype is torch.float32


@torch.no_grad()
def test_slots_are_fed_the_regions_tokens(lab: Any, family: str) -> None:
    """The upper left quarter and a strip of an image of four by four tokens, row by row."""
    model = lab.model(family, "lvr")
    boxes = (Box(0, (0.0, 0.0, 0.5, 0.5)), Box(1, (0.25, 0.8, 1.0, 0.9)))
    batch = lab.batch(model, [replace(lab.records["two images"], bboxes=boxes)])
    features = model.features(batch)
    fed = model.reasoner.slot_inputs(batch, features, STAGE)
    assert torch.equal(fed, features[0, [0, 1, 4, 5, 29, 30, 31]])


@torch.no_grad()
def test_pooled_slots_are_means_of_neighbours(lab: Any, family: str) -> None:
    model = lab.model(family, "lvr", pool=2)
    batch = lab.batch(model, [replace(lab.records["one image"], bboxes=(Box(0, (0.0, 0.0, 1.0, 0.25)),))])
    features = model.features(batch)
    fed = model.reasoner.slot_inputs(batch, features, STAGE)
    assert torch.allclose(fed, torch.stack([features[0, :2].mean(0), features[0, 2:4].mean(0)]), atol=1e-6)


@torch.no_grad()
def test_a_hidden_region_is_painted_over_and_still_the_target(lab: Any, family: str) -> None:
    record = replace(lab.records["one image"], bboxes=(Box(0, (0.0, 0.0, 0.5, 0.5)),))
    (picture,) = lab.images(record)
    model, plain = lab.model(family, "lvr", hide_region=True), lab.model(family, "lvr")
    batch, other = lab.batch(model, [record]), lab.batch(plain, [record])
    pixels = np.asarray(picture).copy()
    height, width = pixels.shape[:2]
    pixels[: height // 2, : width // 2] = pixels.reshape(-1, 3).mean(0).round()
    painted, _ = model.processor.encode_images([Image.fromarray(pixels)])
    assert torch.equal(batch["pixel_values"], painted)
    assert not torch.equal(batch["pixel_values"], other["pixel_values"])
    fed = model.reasoner.slot_inputs(batch, model.features(batch), STAGE)
    wanted = plain.reasoner.slot_inputs(other, plain.features(other), STAGE)
    assert torch.allclose(fed, wanted, atol=1e-5)


@torch.no_grad()
def test_a_crop_is_encoded_alone(lab: Any, family: str) -> None:
    model = lab.model(family, "lvr", target="crop")
    record = replace(lab.records["one image"], bboxes=(Box(0, (0.5, 0.0, 1.0, 0.5)),))
    (picture,) = lab.images(record)
    width, height = picture.size
    cut = picture.crop((width // 2, 0, width, height // 2))
    patches, grid = model.processor.encode_images([cut])
    batch = lab.batch(model, [record])
    fed = model.reasoner.slot_inputs(batch, model.features(batch), STAGE)
    assert torch.allclose(fed, model.backbone.encode_images(patches, grid)[0], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("loss", ["mse", "mae", "cosine"])
def test_the_loss_is_the_distance_of_the_states_before_the_slots(lab: Any, family: str, loss: str) -> None:
    model = lab.model(family, "lvr", loss=loss, head="mlp", weight=0.3)
    batch = lab.batch(model, list(lab.records.values()))
    features = model.features(batch)
    hidden = model.hidden(batch, features, STAGE)
    targets = iter(model.reasoner.slot_inputs(batch, features, STAGE))
    slot, total, count = model.token_ids["<|lvr|>"], 0.0, 0
    for states, ids in zip(hidden, batch["input_ids"], strict=True):
        for before, token in zip(states, ids[1:], strict=False):
            if int(token) == slot:
                predicted = model.reasoner.latent_inputs(before[None])
                total += float(distances(predicted, next(targets), loss))
                count += 1
    term = model(batch, STAGE)["lvr"]
    assert float(term.total) == pytest.approx(total, rel=1e-4)
    assert term.weight == 0.3
    assert int(model.reasoner.loss_counts(batch)["lvr"]) == count


@torch.no_grad()
def test_the_end_vector_is_fed_and_reached_for(lab: Any, family: str) -> None:
    model = lab.model(family, "lvr", layout="A", end_vector=True, end_weight=0.7)
    vector = model.extra["end"].vector
    assert float(vector.norm()) == pytest.approx(model.backbone.width**0.5, rel=1e-4)
    batch = lab.batch(model, [replace(lab.records["one image"], bboxes=(Box(0, (0.0, 0.0, 0.5, 0.5)),))])
    features = model.features(batch)
    fed = model.reasoner.slot_inputs(batch, features, STAGE)
    assert len(fed) == 5
    assert torch.equal(fed[-1], vector)
    place = int((batch["input_ids"][0] == model.token_ids["<|lvr_latent_end|>"]).nonzero())
    assert int(batch["labels"][0, place]) == -100
    state = model.hidden(batch, features, STAGE)[0, place - 1]
    term = model(batch, STAGE)["lvr_end"]
    assert float(term.total) == pytest.approx(float((state - vector).square().mean()), rel=1e-4)
    assert term.weight == 0.7
    assert int(model.reasoner.loss_counts(batch)["lvr_end"]) == 1


@torch.no_grad()
def test_the_switch_loss_is_a_binary_cross_entropy(lab: Any, family: str) -> None:
    """One logit at the start marker and at each slot; the last slot alone wants the end marker."""
    model = lab.model(family, "lvr", switch_loss=True)
    batch = lab.batch(model, [replace(lab.records["one image"], bboxes=(Box(0, (0.0, 0.0, 0.5, 0.5)),))])
    hidden = model.hidden(batch, model.features(batch), STAGE)[0]
    start = int((batch["input_ids"][0] == model.token_ids["<|lvr_start|>"]).nonzero())
    logits = model.logits(hidden[start : start + 5], suppress=False)[:, model.token_ids["<|lvr_end|>"]]
    p = logits.double().sigmoid()
    wanted = -((1 - p[:4]).log().sum() + p[4].log())
    assert float(model(batch, STAGE)["lvr_switch"].total) == pytest.approx(float(wanted), rel=1e-4)
    assert int(model.reasoner.loss_counts(batch)["lvr_switch"]) == 5


@pytest.mark.parametrize(
    ("options", "progress", "wanted"),
    [
        ({}, 0.5, 0.0),
        ({"slot_inputs": "own"}, 0.0, 1.0),
        ({"slot_inputs": "mixed"}, 0.25, 0.25),
        ({"slot_inputs": "mixed", "own_first": 0.2, "own_last": 0.6}, 0.5, 0.4),
    ],
)
def test_the_share_of_own_inputs(options: dict[str, Any], progress: float, wanted: float) -> None:
    share = Reasoner(Config(**options)).own_share(Stage("s", CAUSAL, progress))
    assert share == pytest.approx(wanted)


def test_the_papers_settings() -> None:
    config = Config()
    assert (config.layout, config.loss, config.weight, config.head) == ("B", "mse", 0.1, "none")
    assert [(n, s.steps, s.visibility) for n, s in default_stages().items()] == [("sft", 2500, "causal")]


NUMBER = "fix: write a number in this range"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1}, f"weight: expected at least 0, got -1; {NUMBER}"),
        ({"end_weight": float("nan")}, f"end_weight: expected at least 0, got nan; {NUMBER}"),
        ({"switch_weight": float("inf")}, f"switch_weight: expected at least 0, got inf; {NUMBER}"),
        ({"own_first": 1.5}, f"own_first: expected at least 0 and at most 1, got 1.5; {NUMBER}"),
        ({"own_last": -0.5}, f"own_last: expected at least 0 and at most 1, got -0.5; {NUMBER}"),
        ({"pool": 0}, f"pool: expected at least 1, got 0; {NUMBER}"),
        ({"head_width": 0}, f"head_width: expected at least 1, got 0; {NUMBER}"),
        ({"end_vector": True}, "end_vector: expected layout A with it, got B; fix: set reasoner.layout=A"),
        (
            {"switch_loss": True, "layout": "A"},
            "switch_loss: expected layout B with it, got A, where no slot is followed by the end marker; "
            "fix: set reasoner.layout=B",
        ),
        (
            {"head": "pca"},
            "pca_basis: expected a basis file exactly with head=pca, got none; "
            "fix: make one with latentvr data basis, or leave the key out",
        ),
        (
            {"pca_basis": "x"},
            "pca_basis: expected a basis file exactly with head=pca, got one with head=none; "
            "fix: make one with latentvr data basis, or leave the key out",
        ),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    assert Config(**options).problems() == [message]
    assert Config().problems() == []


def test_a_region_too_thin_to_be_a_picture_is_refused(lab: Any) -> None:
    model = lab.model("tiny-qwen2.5-vl", "lvr", target="crop")
    record = Record("thin", "t", "train", ("x",), "what ?", "3", bboxes=(Box(0, (0.0, 0.5, 1.0, 0.5001)),))
    with pytest.raises(
        RecordError, match=r"expected a region less than 200 times .*, got 600 x 1 pixels, at"
    ):
        encoder_for(model).encode(record, [Image.new("RGB", (600, 60))])


def test_a_placeholder_in_the_question_is_refused() -> None:
    record = Record("a", "t", "train", (), "what is <lvr> ?", "3")
    with pytest.raises(RecordError, match="expected <lvr> in the response alone, got it in the prompt"):
        Reasoner(Config()).layout(record)
