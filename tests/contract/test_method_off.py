"""Point 8: without latents the model is the stock model, bit by bit.

The other side is `model.forward(input_ids, pixel_values, ...)` of transformers, which embeds, encodes images,
computes positions and masks by itself. Breaks when: positions, feature order, deepstack or the mask differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.attention.visibility import CAUSAL
from latentvr.reasoners.base import Stage

PLAIN: dict[str, Any] = {"boxless": "plain", "wrap_answer": False}
OFF: list[tuple[str, dict[str, Any]]] = [("direct", {}), ("livr", {"latents": 0}), ("lvr", PLAIN)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("name", "options"), OFF, ids=lambda v: str(v))
@torch.no_grad()
def test_method_off_is_the_stock_model(
    lab: Any, family: str, name: str, options: dict[str, Any], side: str, dtype: torch.dtype
) -> None:
    model = lab.model(family, name, "mask", **options).to(dtype)
    batch = lab.batch(model, [replace(record, bboxes=()) for record in lab.records.values()], side)
    ours = model.backbone.logits(model.hidden(batch, model.features(batch), Stage("s", CAUSAL)))
    seen = batch["roles"] != Role.PAD
    stock = lab.stock(family)[0].to(dtype).eval()
    theirs = stock(
        input_ids=batch["input_ids"],
        attention_mask=seen.long(),
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
    ).logits
    assert float((ours[seen].float() - theirs[seen].float()).abs().max()) == 0.0


@torch.no_grad()
def test_the_loss_is_the_stock_models_loss(lab: Any, family: str) -> None:
    """The stock loss is a mean over the same labels; excluded ids are given -inf there too."""
    model = lab.model(family)
    batch = lab.batch(model, [lab.records["two images"]])
    ours = model(batch, Stage("s", CAUSAL))["ce"].total
    stock = lab.stock(family)[0].eval()
    logits = stock(
        input_ids=batch["input_ids"],
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
    ).logits
    logits = logits.index_fill(-1, model.get_buffer("excluded"), float("-inf"))
    wanted = torch.nn.functional.cross_entropy(
        logits[0, :-1], batch["labels"][0, 1:], ignore_index=-100, reduction="sum"
    )
    assert float(ours) == pytest.approx(float(wanted), abs=1e-5)


@torch.no_grad()
def test_spans_that_are_not_opened_change_no_ordinary_logit(lab: Any, family: str) -> None:
    """Without boxes and with `boxless: plain` the sequences are the plain ones; new ids alone differ."""
    model, plain = lab.model(family, "lvr", **PLAIN), lab.model(family)
    found = []
    for one in (model, plain):
        batch = lab.batch(one, [replace(record, bboxes=()) for record in lab.records.values()])
        hidden = one.hidden(batch, one.features(batch), Stage("s", CAUSAL))
        found.append((batch["input_ids"], batch["labels"], one.logits(hidden)))
    (ids, labels, ours), (other_ids, other_labels, theirs) = found
    assert torch.equal(ids, other_ids)
    assert torch.equal(labels, other_labels)
    new = torch.tensor(list(model.token_ids.values()))
    assert not torch.equal(ours[..., new], theirs[..., new])
    assert torch.equal(ours.index_fill(-1, new, 0.0), theirs.index_fill(-1, new, 0.0))
