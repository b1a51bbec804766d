"""Cross-entropy in parts is that of all logits at once, in value and in every gradient.

Breaks when: a part is left out or weighed, new rows or suppressed ids are another matter in parts, or the
backward pass keeps the logits of all parts.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from latentvr.models.token_loss import token_loss


def _gradients(model: Any, hidden: Tensor, ids: Tensor, at_once: int | None) -> tuple[float, list[Tensor]]:
    model.zero_grad()
    hidden = hidden.clone().requires_grad_()
    if at_once is None:
        loss = functional.cross_entropy(model.logits(hidden, True), ids, reduction="sum")
    else:
        loss = token_loss(model, hidden, ids, True, at_once)
    loss.backward()
    trained = [model.base.lm_head.weight, *model.rows.parameters()]
    return float(loss.detach()), [t.grad.clone() for t in (hidden, *trained) if t.grad is not None]


@pytest.mark.parametrize("at_once", [1, 7, 20, 21])
@pytest.mark.parametrize("untied", [False, True])
def test_parts_change_nothing(lab: Any, untied: bool, at_once: int) -> None:
    """With rows that the model writes and ids that it never does."""
    model = lab.model("tiny-qwen2.5-vl", "lvr", untied=untied).requires_grad_(True)
    torch.manual_seed(0)
    ids = torch.randint(20, 300, (21,))
    ids[::5] = model.rows.get_buffer("written_ids")[0]
    hidden = torch.randn(21, model.backbone.width)
    loss, gradients = _gradients(model, hidden, ids, at_once)
    wanted, wanted_gradients = _gradients(model, hidden, ids, None)
    assert loss == pytest.approx(wanted, rel=1e-6)
    assert len(gradients) == len(wanted_gradients) >= 3
    for found, other in zip(gradients, wanted_gradients, strict=True):
        assert torch.allclose(found, other, atol=1e-6)
    with torch.no_grad():
        assert float(token_loss(model, hidden, ids, True, at_once)) == pytest.approx(wanted, rel=1e-6)


def test_no_logits_are_kept_for_the_backward_pass(lab: Any) -> None:
    model = lab.model("tiny-qwen2.5-vl", "livr", latents=4)
    model.base.lm_head.requires_grad_(True)
    hidden, ids = torch.randn(64, model.backbone.width, requires_grad=True), torch.full((64,), 30)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    rows = model.backbone.embedding_weight.shape[0]
    for at_once, most in ((64, True), (8, False)):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            token_loss(model, hidden, ids, True, at_once)
        assert (max(kept) >= 64 * rows) == most
        assert (sum(kept) >= 64 * rows) == most
