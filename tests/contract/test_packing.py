"""Packed rows are padded rows in another place: the same losses and gradients, and no sight of each other.

Breaks when: a document sees its neighbour, slots or visual tokens of a later sample are mixed up, or what a
model predicts for its slots crosses documents.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.data.collate import collate
from latentvr.reasoners.base import Stage

TOLERANCE = 1e-5


def _packed(lab: Any, model: Any) -> tuple[list[Any], list[list[Any]]]:
    """Samples with one to three images, and the same in a row of three and one of one."""
    samples = lab.encode(model, list(lab.records.values()))
    return samples, [samples[:3], samples[3:]]


def _losses(model: Any, items: list[Any], stage: Stage) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Loss terms of a batch, and the gradients of their weighted sum."""
    model.zero_grad()
    torch.manual_seed(0)
    terms = model(collate(items, 0), stage)
    torch.stack([term.weight * term.total for term in terms.values()]).sum().backward()
    gradients = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    return {name: float(term.total.detach()) for name, term in terms.items()}, gradients


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_packed_rows_give_the_losses_and_gradients_of_padded_ones(
    lab: Any, packing_model: Any, visibility: Visibility
) -> None:
    samples, rows = _packed(lab, packing_model)
    stage = Stage("s", visibility)
    padded, wanted = _losses(packing_model, samples, stage)
    packed, found = _losses(packing_model, rows, stage)
    assert padded.keys() == packed.keys()
    for name, total in padded.items():
        assert packed[name] == pytest.approx(total, rel=TOLERANCE)
    assert wanted.keys() == found.keys()
    assert len(wanted) > 10
    for name, gradient in wanted.items():
        apart = float((found[name] - gradient).abs().max())
        assert apart <= TOLERANCE * max(1.0, float(gradient.abs().max())), name


@torch.no_grad()
@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_a_document_is_blind_to_its_neighbours(lab: Any, packing_model: Any, visibility: Visibility) -> None:
    """Not "almost": with other words and pixels in the second sample, the others keep every bit."""
    model, stage = packing_model, Stage("s", visibility)
    _, rows = _packed(lab, model)
    before = rows[0][1]
    own = torch.tensor([-1, *model.token_ids.values()])
    words = torch.eq(before.roles, int(Role.ANSWER)) & ~torch.isin(before.ids, own)
    other = replace(
        before,
        ids=torch.where(words, before.ids[words][-1], before.ids),
        pixel_values=torch.randn(before.pixel_values.shape, generator=torch.Generator().manual_seed(5)),
    )
    hidden = []
    for sample in (before, other):
        batch = collate([[rows[0][0], sample, rows[0][2]], rows[1]], 0)
        hidden.append(model.hidden(batch, model.features(batch), stage))
    changed = batch["documents"] == 1
    assert int(changed.sum()) == len(before.ids)
    assert torch.equal(hidden[0][~changed], hidden[1][~changed])
    assert float((hidden[0][changed] - hidden[1][changed]).abs().max()) > 1e-3
