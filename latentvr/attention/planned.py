"""What the kernels with a plan share: the call they accept, and one plain causal attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from latentvr.errors import VisibilityError

PLAN_KEY = "latentvr_plan"

# Fused CUDA kernels share key heads among query heads up to this head size; above it, and in float32,
# asking for it drops to the kernel that writes out all scores.
_LARGEST_SHARED_HEAD = 256
_NOT_HONOURED = ("sliding_window", "softcap", "position_bias", "s_aux")


@dataclass(frozen=True)
class Plan:
    """How to attend in one batch; built once and used by every layer.

    Attributes:
        batch: B.
        length: S.
    """

    batch: int
    length: int


AnyPlan = TypeVar("AnyPlan", bound=Plan)


def placeholder_mask(device: torch.device) -> Tensor:
    """Return the `attention_mask` that goes with a plan: 4-D and without a single element.

    transformers returns a 4-D mask as it is, so no (S, S) mask is built whatever the form of
    `position_ids` (with None it is built for packed ones). And a model whose attention was not set
    to the planned kernel fails on its shape, where None would drop the visibility and say nothing.

    Args:
        device: where the batch is.

    Returns:
        A bool tensor of shape (1, 1, 0, 0).
    """
    return torch.empty(1, 1, 0, 0, dtype=torch.bool, device=device)


def is_planned(module: nn.Module, attention_mask: Tensor | None, plan: object | None) -> bool:
    """Tell whether a call is one that the plan describes; others are stock attention.

    Args:
        module: the attention layer; one that is not causal (a vision tower) has no plan.
        attention_mask: the layer's mask.
        plan: what came as `latentvr_plan`.

    Returns:
        True for a call with a plan.

    Raises:
        VisibilityError: the placeholder mask came without its plan.
    """
    if plan is not None and getattr(module, "is_causal", True):
        return True
    if attention_mask is not None and attention_mask.numel() == 0:
        raise VisibilityError(
            f"expected the attention plan beside its placeholder mask, got none, at {type(module).__name__}; "
            "fix: pass AttentionInputs.kwargs on to the text decoder"
        )
    return False


def check_call(
    plan: object,
    kind: type[AnyPlan],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    options: dict[str, Any],
) -> AnyPlan:
    """Refuse what a plan cannot honour.

    Args:
        plan: what came as `latentvr_plan`.
        kind: the kernel's own class of plan.
        module: the attention layer, for the message.
        query: shape (B, H, S, D).
        key: shape (B, Hk, S, D).
        mask: the layer's `attention_mask`.
        options: the layer's other keyword arguments.

    Returns:
        The plan, with its type.

    Raises:
        VisibilityError: another kernel's plan, another shape, a second mask, or an option that
            changes the scores.
    """
    where = f"at {type(module).__name__}"
    if not isinstance(plan, kind):
        raise VisibilityError(
            f"expected a {kind.__name__}, got a {type(plan).__name__}, {where}; "
            "fix: set the model's attention to implementation(kernel) of the kernel that prepared the batch"
        )
    if mask is not None and mask.numel():
        raise VisibilityError(f"expected a plan or a mask, got both, {where}; fix: pass one of them")
    planned, found = (plan.batch, plan.length), (query.shape[0], query.shape[2])
    if planned != found or query.shape[2] != key.shape[2]:
        raise VisibilityError(
            f"expected a whole batch of shape {planned}, got {found} queries over "
            f"{key.shape[2]} keys, {where}; fix: use kernel=mask where a cache holds earlier tokens"
        )
    for name in _NOT_HONOURED:
        if options.get(name) is not None:
            raise VisibilityError(f"expected no {name} beside a plan, got one, {where}; fix: use kernel=mask")
    return plan


def one_type(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Give query and key the number format of the value.

    Under autocast rotary positions leave them in float32 beside a value in half precision: kernels that
    autocast does not know refuse that, and the choice of a fused kernel goes by the query.

    Args:
        query: shape (B, H, S, D).
        key: shape (B, Hk, S, D).
        value: shape (B, Hk, S, Dv).

    Returns:
        Query and key.
    """
    return query.to(value.dtype), key.to(value.dtype)


def causal_attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
) -> Tensor:
    """Run one plain causal attention without a mask tensor.

    Args:
        query: shape (B, H, N, D).
        key: shape (B, Hk, N, D), Hk divides H.
        value: shape (B, Hk, N, Dv).
        scale: factor of the scores; None means 1 / sqrt(D).
        dropout: probability of dropping an attention weight.

    Returns:
        Shape (B, N, H * Dv), contiguous.
    """
    groups = query.shape[1] // key.shape[1]
    shared = groups > 1 and shares_key_heads(query, value)
    if groups > 1 and not shared:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    out = scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scale, dropout_p=dropout, enable_gqa=shared
    )
    return out.transpose(1, 2).flatten(2)


def shares_key_heads(query: Tensor, value: Tensor) -> bool:
    """Tell whether fused attention takes fewer key heads than query heads on this device and type."""
    if query.device.type == "cpu":
        return True
    half = query.dtype in (torch.float16, torch.bfloat16)
    return half and query.shape[-1] == value.shape[-1] <= _LARGEST_SHARED_HEAD
