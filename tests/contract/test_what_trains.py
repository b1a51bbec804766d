"""Point 7: only what a recipe declares gets gradients; everything else keeps its bits.

Breaks when: an adapter lands on the vision tower, the embedding matrix drifts, a method's module is frozen,
or something declared never moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import LoraConfig, OptimConfig
from latentvr.errors import RecipeError
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.base import Stage
from latentvr.trainers.optimizer import adamw, parameter_groups

LORA = LoraConfig(r=4, alpha=8, dropout=0.0)
# Weight decay moves what is given to the optimiser even without a gradient, so it is part of the check.
OPTIM = OptimConfig(learning_rate=1e-2, weight_decay=0.1)
OWN = ("rows.", "extra.")
DECLARED: dict[str, Callable[[str], bool]] = {
    "lora": lambda name: "lora_" in name and "language_model" in name,
    "language": lambda name: "language_model" in name or "lm_head" in name,
    "all": lambda _: True,
    "tokens": lambda _: False,
}


def _train(model: Any, batch: dict[str, Any], steps: int, visibility: Visibility) -> None:
    optimizer = adamw(parameter_groups(model, OPTIM, OPTIM.learning_rate), OPTIM)
    for _ in range(steps):
        terms = model(batch, Stage("s", visibility))
        torch.stack([term.total * term.weight for term in terms.values()]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def _weights(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_rows_alone_cannot_train_where_there_are_none(lab: Any, case: Any) -> None:
    model = case.model(lab)
    if not model.reasoner.tokens():
        with pytest.raises(RecipeError, match="expected something to train, got nothing"):
            set_trainable(model, "tokens", LORA)


def test_only_what_is_declared_moves(lab: Any, case_and_kind: Any) -> None:
    case, kind = case_and_kind
    model = case.model(lab)
    set_trainable(model, kind, LORA)
    before, buffers = _weights(model), {k: v.clone() for k, v in model.named_buffers()}
    # Under the bottleneck and without latents no gradient could reach the vision tower.
    visibility = CAUSAL if kind == "all" else BOTTLENECK
    _train(model.train(), lab.batch(model, list(lab.records.values())), 3, visibility)
    after = _weights(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    declared = {name for name in before if name.startswith(OWN) or DECLARED[kind](name)}
    assert moved == declared
    # With a frozen tower images are encoded without gradients: an adapter on it would not even move.
    assert {name for name, p in model.named_parameters() if p.requires_grad} == declared
    assert all(torch.equal(buffers[k], v) for k, v in model.named_buffers())


@pytest.mark.parametrize("kind", ["lora", "language"])
def test_only_what_is_declared_gets_a_gradient(lab: Any, case: Any, kind: Any) -> None:
    model = case.model(lab)
    set_trainable(model, kind, LORA)
    for term in model.train()(lab.batch(model, [lab.records["one image"]]), Stage("s", BOTTLENECK)).values():
        term.total.backward(retain_graph=True)
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, _ in model.named_parameters() if n.startswith(OWN) or DECLARED[kind](n)}


def test_nothing_trains_before_it_is_declared(lab: Any, case: Any) -> None:
    model = case.model(lab)
    assert [name for name, p in model.base.named_parameters() if p.requires_grad] == []
