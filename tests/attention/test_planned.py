"""A plan never goes missing without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.masking_utils import create_causal_mask

from latentvr.attention.kernels import implementation, prepare
from latentvr.attention.planned import PLAN_KEY, causal_attention, check_call, placeholder_mask
from latentvr.attention.two_pass import TwoPassPlan, two_pass_plan
from latentvr.attention.visibility import BOTTLENECK
from latentvr.errors import VisibilityError

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="flex attention on a CPU needs g++")
RolesOf = Callable[[list[str]], Tensor]


@pytest.mark.parametrize("position_rows", [3, 4])
@pytest.mark.parametrize("attention", ["latentvr_two_pass", "latentvr_varlen", "sdpa", "eager"])
def test_no_mask_is_built_for_a_placeholder(tiny: Any, attention: str, position_rows: int) -> None:
    tiny.model.set_attn_implementation({"text_config": attention})
    placeholder = placeholder_mask(torch.device("cpu"))
    ids = torch.tensor([[0, 1, 2, 0, 1, 2]])
    made = create_causal_mask(
        config=tiny.model.config.text_config,
        inputs_embeds=torch.zeros(1, 6, 64),
        attention_mask=placeholder,
        past_key_values=None,
        position_ids=ids if position_rows == 4 else None,
    )
    assert made is placeholder


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_without_the_kernel_fails_and_does_not_drop_the_visibility(
    tiny: Any, batch_of: Callable[..., Any], attention: str
) -> None:
    batch = batch_of(["PIIPLA"])
    inputs = prepare("two_pass", BOTTLENECK, batch.roles, dtype=torch.float32)
    with pytest.raises(RuntimeError, match=r"expanded size|must match"):
        tiny.hidden(batch, attention, inputs.attention_mask, **inputs.kwargs)


@pytest.mark.parametrize("kernel", ["two_pass", "varlen"])
def test_a_placeholder_without_its_plan_is_refused(
    tiny: Any, batch_of: Callable[..., Any], kernel: str
) -> None:
    batch = batch_of(["PIIPLA"])
    inputs = prepare(kernel, BOTTLENECK, batch.roles, dtype=torch.float32)
    with pytest.raises(VisibilityError, match="expected the attention plan"):
        tiny.hidden(batch, implementation(kernel), inputs.attention_mask)


def test_the_plan_of_another_kernel_is_refused(tiny: Any, batch_of: Callable[..., Any]) -> None:
    batch = batch_of(["PIIPLA"])
    inputs = prepare("varlen", BOTTLENECK, batch.roles, dtype=torch.float32)
    with pytest.raises(VisibilityError, match="expected a TwoPassPlan, got a VarlenPlan"):
        tiny.hidden(batch, implementation("two_pass"), inputs.attention_mask, **inputs.kwargs)


def test_a_plan_beside_a_mask_is_refused(tiny: Any, batch_of: Callable[..., Any]) -> None:
    batch = batch_of(["PIIPLA"])
    plan = two_pass_plan(BOTTLENECK, batch.roles)
    with pytest.raises(VisibilityError, match="got both"):
        tiny.hidden(batch, implementation("two_pass"), torch.ones(1, 1, 6, 6).bool(), **{PLAN_KEY: plan})


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (6, 9)])
def test_a_call_of_another_length_is_refused(roles_of: RolesOf, queries: int, keys: int) -> None:
    plan = two_pass_plan(BOTTLENECK, roles_of(["PIIPLA"]))
    query, key = torch.zeros(1, 2, queries, 4), torch.zeros(1, 2, keys, 4)
    with pytest.raises(VisibilityError, match="expected a whole batch"):
        check_call(plan, TwoPassPlan, nn.Identity(), query, key, None, {})


@pytest.mark.parametrize("option", ["sliding_window", "softcap", "position_bias", "s_aux"])
def test_options_that_change_the_scores_are_refused(roles_of: RolesOf, option: str) -> None:
    plan = two_pass_plan(BOTTLENECK, roles_of(["PIIPLA"]))
    states = torch.zeros(1, 2, 6, 4)
    with pytest.raises(VisibilityError, match=option):
        check_call(plan, TwoPassPlan, nn.Identity(), states, states, None, {option: 1})


def test_fewer_key_heads_are_those_of_their_own_group() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 7, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    out = causal_attention(query, key, value, None, 0.0).view(2, 7, 4, 8)
    for head in range(4):
        alone = [query[:, head : head + 1], key[:, head // 2, None], value[:, head // 2, None]]
        wanted = causal_attention(alone[0], alone[1], alone[2], None, 0.0)
        assert torch.allclose(out[:, :, head], wanted, atol=1e-6)


class AttentionTypes(TorchFunctionMode):
    """Notes the number formats of query, key and value at each call of an attention function of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.dtype, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "attention" in getattr(func, "__name__", ""):
            self.seen.append(tuple(states.dtype for states in args[:3]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kernel", ["two_pass", "varlen"])
def test_under_autocast_kernels_get_one_number_format(
    tiny: Any, batch_of: Callable[..., Any], kernel: str
) -> None:
    """Weights in float32: rotary positions leave query and key in float32 beside a value in bfloat16."""
    batch = batch_of(["..PIIPLA", "PIIPLAAA"])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), AttentionTypes() as types:
        tiny.logits(batch, kernel, BOTTLENECK)
    assert set(types.seen) == {(torch.bfloat16,) * 3}


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("kernel", ["two_pass", "varlen", pytest.param("flex", marks=needs_compiler)])
def test_under_autocast_kernels_are_the_mask(tiny: Any, batch_of: Callable[..., Any], kernel: str) -> None:
    batch = batch_of(["..PIIPLA", "PIIPLAAA"])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, wanted = tiny.logits(batch, kernel, BOTTLENECK), tiny.logits(batch, "mask", BOTTLENECK)
    assert found.dtype == torch.bfloat16
    assert float((found - wanted).abs().max()) < 0.03 * float(wanted.abs().max())
