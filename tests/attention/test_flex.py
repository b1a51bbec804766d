"""The flex kernel: its block mask, its forward pass, and its refusal of gradients on a CPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.flex import block_mask
from latentvr.attention.mask import reference_mask
from latentvr.attention.visibility import BOTTLENECK, PRESETS
from latentvr.errors import VisibilityError

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="flex attention on a CPU needs g++")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_mask_function_says_what_the_reference_says(
    name: str, rows: list[str], roles_of: Callable[[list[str]], Tensor]
) -> None:
    roles = roles_of(rows)
    batch, length = roles.shape
    documents = (torch.arange(length) // 5).expand(batch, length)
    row, query, key = torch.meshgrid(torch.arange(batch), *2 * [torch.arange(length)], indexing="ij")
    found = block_mask(PRESETS[name], roles, documents).mask_mod(row, torch.zeros(()), query, key)
    assert torch.equal(found, reference_mask(PRESETS[name], roles, documents)[:, 0])


@needs_compiler
def test_forward_is_the_mask(tiny: Any, batch_of: Callable[..., Any]) -> None:
    batch = batch_of(["PIIPLLA PIPLA ..", "PA PIIIIIPLLLA ."], ["0000000 11111 22", "00 11111111111 9"])
    with torch.no_grad():
        logits = tiny.logits(batch, "flex", BOTTLENECK)
        wanted = tiny.logits(batch, "mask", BOTTLENECK)
    assert (logits - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_gradients_on_a_cpu_are_refused(tiny: Any, batch_of: Callable[..., Any]) -> None:
    with pytest.raises(VisibilityError, match="kernel=flex, got the CPU"):
        tiny.logits(batch_of(["PIILA"]), "flex", BOTTLENECK)


def test_a_lost_block_mask_is_refused(tiny: Any) -> None:
    layer = tiny.model.model.language_model.layers[0].self_attn
    tiny.model.set_attn_implementation({"text_config": "latentvr_flex"})
    states = torch.zeros(1, 3, 64)
    turns = (torch.ones(1, 3, 16), torch.zeros(1, 3, 16))
    with (
        torch.no_grad(),
        pytest.raises(VisibilityError, match="mask for kernel=flex, got none"),
    ):
        layer(hidden_states=states, position_embeddings=turns, attention_mask=None)


def test_a_mask_of_numbers_is_refused(tiny: Any) -> None:
    layer = tiny.model.model.language_model.layers[0].self_attn
    tiny.model.set_attn_implementation({"text_config": "latentvr_flex"})
    states = torch.zeros(1, 3, 64)
    turns = (torch.ones(1, 3, 16), torch.zeros(1, 3, 16))
    with torch.no_grad(), pytest.raises(VisibilityError, match=r"got a tensor of torch\.float32"):
        layer(hidden_states=states, position_embeddings=turns, attention_mask=torch.zeros(1, 1, 3, 3))
