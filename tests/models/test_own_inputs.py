"""Slots filled by the model's own predictions for training: what decoding would feed for the same tokens.

The comparison is one whole forward of each sample alone over what was filled in, without cache, shift or
padding: every slot must hold what the state before it predicts, which nothing else than these values does.
Breaks when: a row is shifted wrongly, a slot sees a later token, text between spans is skipped, dropout is
on, or gradients flow through the predictions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import DecodeConfig, LoraConfig
from latentvr.data.record import Box, Record
from latentvr.decoding.loop import generate
from latentvr.models.own_inputs import own_inputs
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mlp": {"head": "mlp"},
    "end vector": {"layout": "A", "end_vector": True},
    "crop": {"target": "crop"},
}
LARGE, WIDE = Box(0, (0.0, 0.0, 0.5, 0.5)), Box(0, (0.5, 0.25, 1.0, 1.0))


def _records(lab: Any) -> list[Record]:
    """One span of four slots; two spans with text between; no span; two spans, one after the other."""
    first, second = lab.records["one image"], lab.records["two images"]
    spoken = "this part <lvr> and then that one <lvr> give <answer> C </answer>"
    return [
        replace(first, bboxes=(LARGE,)),
        replace(second, bboxes=(WIDE, Box(1, (0.0, 0.0, 0.25, 0.75))), response=spoken),
        replace(first, bboxes=()),
        replace(lab.records["interleaved"], bboxes=(WIDE, LARGE)),
    ]


def _model(lab: Any, family: str, label: str = "plain") -> Any:
    return lab.model(family, "lvr", boxless="plain", **OPTIONS[label])


@torch.no_grad()
def _predicted(lab: Any, model: Any, sample: Any, stage: Stage, own_LD: Tensor) -> Tensor:
    """What a sample's slots should be fed (L, D), each after the slots before it are fed `own_LD`."""
    batch = lab.collated([sample])
    features, places = model.features(batch), model.slot_mask(batch)[0].nonzero().flatten()
    teacher = model.reasoner.slot_inputs(batch, features, stage)
    if teacher is None:
        return own_LD
    hidden = model.hidden(batch, features, stage, slots=own_LD)[0]
    is_slot = batch["input_ids"][0, places] == model.token_ids[model.reasoner.span().slot]
    return torch.where(is_slot[:, None], model.reasoner.latent_inputs(hidden[places - 1]), teacher)


def _filled(model: Any, batch: dict[str, Any], stage: Stage, share: float) -> tuple[Tensor, Tensor]:
    """What is fed instead of the true tokens, and these."""
    features = model.features(batch)
    teacher = model.reasoner.slot_inputs(batch, features, stage)
    return own_inputs(model, batch, features, stage, teacher, share), teacher


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
@pytest.mark.parametrize("label", OPTIONS)
def test_each_slot_holds_what_was_predicted_for_it(
    lab: Any, family: str, label: str, visibility: Visibility, side: str
) -> None:
    model, stage = _model(lab, family, label), Stage("s", visibility)
    samples = lab.encode(model, _records(lab))
    own, teacher = _filled(model, lab.collated(samples, side), stage, 1.0)
    assert own.shape == teacher.shape
    counts = [int(model.slot_mask(lab.collated([sample])).sum()) for sample in samples]
    assert counts[2] == 0
    for sample, part in zip(samples, own.split(counts), strict=True):
        wanted = _predicted(lab, model, sample, stage, part)
        assert torch.allclose(part, wanted, atol=1e-5)
    assert float((own - teacher.detach()).abs().max()) > 1e-1


@pytest.mark.parametrize("label", ["plain", "mlp"])
def test_predictions_are_what_decoding_feeds(lab: Any, family: str, label: str) -> None:
    """A prompt that ends with the start marker, and as many latent steps as the sample has slots."""
    model, stage = _model(lab, family, label), Stage("s", CAUSAL)
    records = [replace(lab.records[name], bboxes=(LARGE,)) for name in ("one image", "two images")]
    own, _ = _filled(model, lab.collated(lab.encode(model, records), "right"), stage, 1.0)
    prompts = lab.prompts(model, records, [model.reasoner.span().start])
    decode = DecodeConfig(max_new_tokens=6, latent_steps=4)
    rows = generate(model, lab.collated(prompts), stage, decode)
    assert torch.allclose(own, torch.cat([row.fed for row in rows]), atol=1e-5)


def test_a_share_of_the_samples_is_filled(lab: Any, family: str) -> None:
    model, stage = _model(lab, family), Stage("s", CAUSAL)
    record = _records(lab)[1]
    batch = lab.collated(lab.encode(model, [record] * 12), "right")
    none, teacher = _filled(model, batch, stage, 0.0)
    assert torch.equal(none, teacher)
    torch.manual_seed(0)
    some = _filled(model, batch, stage, 0.5)[0].view(12, -1)
    kept = (some == teacher.view(12, -1)).all(1)
    assert 0 < int(kept.sum()) < 12
    assert not (some == teacher.view(12, -1))[~kept].all(1).any()
    assert torch.allclose(some[~kept], some[~kept][:1].expand_as(some[~kept]), atol=1e-5)


def test_dropout_and_checkpointing_make_no_difference(lab: Any, family: str) -> None:
    model, stage = _model(lab, family), Stage("s", CAUSAL)
    set_trainable(model, "lora", LoraConfig(r=4, dropout=0.5))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    batch = lab.collated(lab.encode(model, _records(lab)), "right")
    wanted, _ = _filled(model.eval(), batch, stage, 1.0)
    model.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    found, _ = _filled(model.train(), batch, stage, 1.0)
    assert torch.equal(found, wanted)
    assert all(module.training for module in model.modules())
    model(batch, stage)["ce"].total.backward()


def test_no_gradient_flows_through_predictions(lab: Any, family: str) -> None:
    """But what is fed beside them, as the end vector, keeps its own."""
    model, stage = _model(lab, family, "end vector"), Stage("s", CAUSAL)
    set_trainable(model, "all", LoraConfig())
    batch = lab.collated(lab.encode(model, _records(lab)), "right")
    own, teacher = _filled(model, batch, stage, 1.0)
    (to_teacher,) = torch.autograd.grad(own.sum(), [teacher], retain_graph=True)
    is_slot = batch["input_ids"][model.slot_mask(batch)] == model.token_ids[model.reasoner.span().slot]
    assert is_slot.any()
    assert not to_teacher[is_slot].any()
    assert to_teacher[~is_slot].all()
    own.sum().backward()
    assert model.extra["end"].vector.grad.all()
    assert all(p.grad is None or not p.grad.any() for p in model.backbone.language_model.parameters())


@torch.no_grad()
def test_the_loss_is_that_of_the_filled_slots(lab: Any, family: str) -> None:
    model, stage = lab.model(family, "lvr", boxless="plain", slot_inputs="own"), Stage("s", CAUSAL)
    batch = lab.collated(lab.encode(model, _records(lab)), "right")
    own, _ = _filled(model, batch, stage, 1.0)
    terms = model(batch, stage)
    hidden = model.hidden(batch, model.features(batch), stage, slots=own)
    logits, wanted = model.logits(hidden[:, :-1], suppress=False), batch["labels"][:, 1:]
    ce = torch.nn.functional.cross_entropy(logits[wanted >= 0], wanted[wanted >= 0], reduction="sum")
    assert float(terms["ce"].total) == pytest.approx(float(ce), rel=1e-4)
    taught = lab.model(family, "lvr", boxless="plain")(batch, stage)
    assert float(taught["ce"].total) != pytest.approx(float(ce), rel=1e-4)
