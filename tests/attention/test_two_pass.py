"""The padded kernel against the reference mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.kernels import implementation, prepare
from latentvr.attention.two_pass import two_pass_plan
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, PRESETS
from latentvr.errors import VisibilityError

RolesOf = Callable[[list[str]], Tensor]
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_two_pass_is_the_mask_in_value_and_gradient(
    tiny: Any, batch_of: Callable[..., Any], rows: list[str], name: str
) -> None:
    batch = batch_of(rows)
    logits, gradients = tiny.gradients(batch, "two_pass", PRESETS[name])
    wanted, wanted_gradients = tiny.gradients(batch, "mask", PRESETS[name])
    assert (logits - wanted).abs().max() < TOLERANCE * wanted.abs().max()
    assert (gradients - wanted_gradients).abs().max() < TOLERANCE * wanted_gradients.abs().max()


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")
def test_gradient_checkpointing_changes_nothing(tiny: Any, batch_of: Callable[..., Any]) -> None:
    batch = batch_of(["..PIIIPPLLAA..", "PIIIIIIIPPLLLA"])
    _, wanted = tiny.gradients(batch, "mask", BOTTLENECK)
    tiny.model.train()
    tiny.model.gradient_checkpointing_enable({"use_reentrant": False})
    assert tiny.model.model.language_model.layers[0].gradient_checkpointing
    _, gradients = tiny.gradients(batch, "two_pass", BOTTLENECK)
    tiny.model.gradient_checkpointing_disable()
    tiny.model.eval()
    assert (gradients - wanted).abs().max() < TOLERANCE * wanted.abs().max()


def test_right_padding_needs_no_gather_for_the_widest_pass(roles_of: RolesOf) -> None:
    plan = two_pass_plan(BOTTLENECK, roles_of(["PIIPLLAA", "PIPLA..."]))
    assert [one.tokens is None for one in plan.passes] == [True, False]
    assert plan.passes[0].width == 6


def test_left_padding_is_gathered(roles_of: RolesOf) -> None:
    plan = two_pass_plan(CAUSAL, roles_of(["PIIPLLAA", "...PIPLA"]))
    assert plan.passes[0].tokens is not None


def test_no_token_is_gathered_twice(roles_of: RolesOf, rows: list[str]) -> None:
    for visibility in PRESETS.values():
        for one in two_pass_plan(visibility, roles_of(rows)).passes:
            assert one.tokens is None or len(set(one.tokens.tolist())) == len(one.tokens)


def test_rows_of_several_documents_are_refused(roles_of: RolesOf) -> None:
    with pytest.raises(VisibilityError, match=r"row 1 of the batch.*kernel=varlen"):
        two_pass_plan(BOTTLENECK, roles_of(["PILA", "PAPA"]), torch.tensor([[7, 7, 7, 7], [0, 0, 1, 1]]))


def test_one_document_per_row_is_taken_whatever_the_number_of_padding(roles_of: RolesOf) -> None:
    plan = two_pass_plan(BOTTLENECK, roles_of(["PILA", ".PA."]), torch.tensor([[7, 7, 7, 7], [-1, 2, 2, 9]]))
    assert plan.batch == 2


def test_a_batch_of_padding_alone_gives_numbers(tiny: Any, batch_of: Callable[..., Any]) -> None:
    batch = batch_of(["....", "...."])
    inputs = prepare("two_pass", BOTTLENECK, batch.roles, dtype=torch.float32)
    hidden = tiny.hidden(batch, implementation("two_pass"), inputs.attention_mask, **inputs.kwargs)
    assert torch.isfinite(hidden).all()


def test_attention_dropout_acts_in_training_only(tiny: Any, batch_of: Callable[..., Any]) -> None:
    batch = batch_of(["PIIIPPLLAA"])
    plain = tiny.logits(batch, "two_pass", BOTTLENECK)
    for layer in tiny.model.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.5
    same = tiny.logits(batch, "two_pass", BOTTLENECK)
    tiny.model.train()
    dropped = tiny.logits(batch, "two_pass", BOTTLENECK)
    tiny.model.eval()
    for layer in tiny.model.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.0
    assert torch.equal(plain, same)
    assert not torch.allclose(plain, dropped, atol=1e-2)
