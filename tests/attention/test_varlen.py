"""The packed kernel against the reference mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.varlen import varlen_plan
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, PRESETS

RolesOf = Callable[[list[str]], Tensor]
TOLERANCE = 1e-5
PACKED = {
    "one_row": (["PIIPLLA PIPLA PPA"], ["0000000 11111 222"]),
    "rows_end_in_padding": (
        ["PIIPLLA PIPLA ..", "PA PIIIIIPLLLA ."],
        ["0000000 11111 22", "00 11111111111 9"],
    ),
    "a_document_in_pieces": (["PII PIP LLA LA"], ["000 111 000 11"]),
    "numbers_shared_by_rows": (["PILA PPA", "PA PIILA"], ["3333 444", "33 44444"]),
}


def agree(tiny: Any, batch: Any, name: str) -> None:
    logits, gradients = tiny.gradients(batch, "varlen", PRESETS[name])
    wanted, wanted_gradients = tiny.gradients(batch, "mask", PRESETS[name])
    assert (logits - wanted).abs().max() < TOLERANCE * wanted.abs().max()
    assert (gradients - wanted_gradients).abs().max() < TOLERANCE * wanted_gradients.abs().max()


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("packed", sorted(PACKED))
def test_varlen_is_the_mask_on_packed_rows(
    tiny: Any, batch_of: Callable[..., Any], packed: str, name: str
) -> None:
    agree(tiny, batch_of(*PACKED[packed]), name)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_varlen_is_the_mask_on_padded_rows(
    tiny: Any, batch_of: Callable[..., Any], rows: list[str], name: str
) -> None:
    agree(tiny, batch_of(rows), name)


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")
def test_gradient_checkpointing_changes_nothing(tiny: Any, batch_of: Callable[..., Any]) -> None:
    batch = batch_of(*PACKED["rows_end_in_padding"])
    _, wanted = tiny.gradients(batch, "mask", BOTTLENECK)
    tiny.model.train()
    tiny.model.gradient_checkpointing_enable({"use_reentrant": False})
    assert tiny.model.model.language_model.layers[0].gradient_checkpointing
    _, gradients = tiny.gradients(batch, "varlen", BOTTLENECK)
    tiny.model.gradient_checkpointing_disable()
    tiny.model.eval()
    assert (gradients - wanted).abs().max() < TOLERANCE * wanted.abs().max()


def test_bounds_are_those_of_the_documents(roles_of: RolesOf) -> None:
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 2]])
    plan = varlen_plan(BOTTLENECK, roles_of(["PILAPPA."]), documents)
    wide, narrow = plan.passes
    assert wide.edges == (0, 3)
    assert narrow.edges == (0, 3, 6)
    assert narrow.longest == 3
    assert narrow.tokens is not None
    assert narrow.tokens.tolist() == [0, 2, 3, 4, 5, 6]


def test_rows_without_padding_need_no_gather(roles_of: RolesOf) -> None:
    (only,) = varlen_plan(CAUSAL, roles_of(["PILA", "PPPA"])).passes
    assert only.tokens is None
    assert only.edges == (0, 4, 8)
