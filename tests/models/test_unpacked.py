"""Packed rows taken apart: what a model predicts for its slots is what it predicts for each sample alone.

Breaks when: documents of two rows are joined because their numbers meet, or padding becomes a document.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from latentvr.attention.visibility import CAUSAL
from latentvr.data.collate import collate
from latentvr.data.record import Box
from latentvr.models.own_inputs import own_inputs
from latentvr.models.unpacked import unpacked
from latentvr.reasoners.base import Stage


def _samples(lab: Any, model: Any) -> list[Any]:
    """One span of slots, none, and two spans."""
    one, two = lab.records["one image"], lab.records["two images"]
    boxes = (Box(0, (0.5, 0.25, 1.0, 1.0)), Box(1, (0.0, 0.0, 0.25, 0.75)))
    return lab.encode(model, [one, replace(one, bboxes=()), replace(two, bboxes=boxes), one])  # type: ignore[no-any-return]


def test_documents_get_rows_of_their_own(lab: Any) -> None:
    samples = _samples(lab, lab.model("tiny-qwen3-vl", "lvr", boxless="plain"))
    alone, apart = collate(samples, 0), unpacked(collate([samples[:3], samples[3:]], 7))
    for name, values in apart.items():
        assert torch.equal(values, alone[name]), name


@torch.no_grad()
def test_own_predictions_do_not_cross_documents(lab: Any, family: str) -> None:
    model, stage = lab.model(family, "lvr", "varlen", boxless="plain"), Stage("s", CAUSAL)
    samples = _samples(lab, model)
    found = []
    for items in (samples, [samples[:3], samples[3:]], [samples[:1], samples[1:]]):
        batch = collate(items, 0)
        features = model.features(batch)
        teacher = model.reasoner.slot_inputs(batch, features, stage)
        found.append(own_inputs(model, batch, features, stage, teacher, 1.0))
    assert float((found[0] - teacher).abs().max()) > 1e-1
    assert all(torch.allclose(other, found[0], atol=1e-5) for other in found[1:])
