"""The weights at the start beside those that train.

Breaks when: a reference moves with the policy, is left in the model after an error, holds what is frozen a
second time, or the switch of adapters freezes or unfreezes something.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import LoraConfig
from latentvr.models.trainable import count_parameters, set_trainable
from latentvr.reasoners.base import Stage
from latentvr.trainers.reference import Reference

LORA = LoraConfig(r=4, alpha=8, dropout=0.0)
STAGE = Stage("s", CAUSAL)
KINDS = pytest.mark.parametrize("kind", ["language", "lora", "continued", "all", "tokens"])


def _model(lab: Any, kind: str) -> tuple[Any, Reference]:
    """A model with what trains set, and its reference."""
    model = lab.model("tiny-qwen3-vl", "livr", latents=4)
    set_trainable(model, "lora" if kind == "continued" else kind, LORA)
    if kind == "continued":
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return model, Reference(model, kind == "lora")


@torch.no_grad()
def _hidden(lab: Any, model: Any) -> Tensor:
    batch = lab.batch(model, [lab.records["one image"]], answer=False)
    out: Tensor = model.hidden(batch, model.features(batch), STAGE)
    return out


@torch.no_grad()
def _move(model: Any) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))


@KINDS
def test_it_is_the_model_at_the_start_however_the_policy_moves(lab: Any, kind: str) -> None:
    model, reference = _model(lab, kind)
    start = _hidden(lab, model)
    for _ in range(2):
        _move(model)
        moved = _hidden(lab, model)
        assert not torch.allclose(moved, start, atol=1e-2)
        with reference.in_place():
            assert torch.equal(_hidden(lab, model), start)
        assert torch.equal(_hidden(lab, model), moved)


@KINDS
def test_the_policy_is_left_as_it_was_even_by_an_error(lab: Any, kind: str) -> None:
    """Values, places in memory, which an optimiser holds, and what trains."""
    model, reference = _model(lab, kind)
    _move(model)
    before = [(p.data_ptr(), p.requires_grad, p.detach().clone()) for p in model.parameters()]
    with pytest.raises(RuntimeError, match="a reward failed"), reference.in_place():
        raise RuntimeError("a reward failed")
    for parameter, (place, trains, value) in zip(model.parameters(), before, strict=True):
        assert parameter.data_ptr() == place
        assert parameter.requires_grad == trains
        assert torch.equal(parameter, value)
    start = _hidden(lab, model)
    with reference.in_place():
        assert not torch.allclose(_hidden(lab, model), start, atol=1e-2)


@KINDS
def test_only_what_trains_is_kept_twice(lab: Any, kind: str) -> None:
    """Adapters that begin with the run are switched off instead: the rows alone are kept."""
    model, reference = _model(lab, kind)
    rows = sum(p.numel() for p in model.rows.parameters())
    assert reference.parameters == (rows if kind == "lora" else count_parameters(model)[1])


def test_updates_go_on_after_the_reference_was_in_place(lab: Any) -> None:
    """An optimiser made before still moves the weights that the model uses."""
    model, reference = _model(lab, "lora")
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=10.0)
    start = _hidden(lab, model)
    for _ in range(2):
        with reference.in_place():
            assert torch.equal(_hidden(lab, model), start)
        optimiser.zero_grad()
        batch = lab.batch(model, [lab.records["one image"]])
        model.train()(batch, STAGE)["ce"].total.backward()
        optimiser.step()
        model.eval()
    assert not torch.allclose(_hidden(lab, model), start, atol=1e-4)
