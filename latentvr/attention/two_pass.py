"""The kernel for padded batches: one causal call per pass, no mask tensor anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from latentvr.attention.mask import check_roles
from latentvr.attention.passes import Pass, decompose, pass_tokens
from latentvr.attention.planned import Plan, causal_attention, check_call, is_planned, one_type
from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.errors import VisibilityError


@dataclass(frozen=True)
class PaddedPass:
    """One pass over a batch, its rows padded on the right to a common width N.

    Attributes:
        width: N.
        tokens: places of the pass's tokens in the flattened (B * S) batch, shape (B * N), each at
            most once; None where they are the first N tokens of every row.
        taken: rows to take from the flattened (B * N) result, shape (R,).
        placed: where they go in the flattened (B * S) output, shape (R,).
    """

    width: int
    tokens: Tensor | None
    taken: Tensor
    placed: Tensor


@dataclass(frozen=True)
class TwoPassPlan(Plan):
    """The passes of one batch.

    Attributes:
        passes: what to run; rows of padding belong to none.
    """

    passes: tuple[PaddedPass, ...]


def two_pass_plan(visibility: Visibility, roles: Tensor, documents: Tensor | None = None) -> TwoPassPlan:
    """Build the plan of a batch on the device of `roles`.

    Args:
        visibility: the blocked pairs.
        roles: role numbers, shape (B, S), padding anywhere.
        documents: document numbers, shape (B, S); one document per row.

    Returns:
        The plan, for `latentvr_plan`.

    Raises:
        VisibilityError: a row holds several documents, or a role does not see itself.
    """
    check_roles(roles, documents)
    if documents is not None:
        _refuse_packed(roles, documents)
    batch, length = roles.shape
    found = (_padded_pass(one, roles) for one in decompose(visibility, "two_pass"))
    return TwoPassPlan(batch, length, tuple(one for one in found if one is not None))


def two_pass_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    latentvr_plan: object | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend as the plan says; without a plan this is stock sdpa.

    Args:
        module: the attention layer.
        query: shape (B, H, S, D).
        key: shape (B, Hk, S, D).
        value: shape (B, Hk, S, D).
        attention_mask: the placeholder, or None; without a plan, any mask that sdpa takes.
        scaling: factor of the scores.
        dropout: probability of dropping an attention weight.
        latentvr_plan: a `TwoPassPlan`, or None.
        **kwargs: other arguments of the layer.

    Returns:
        The output, shape (B, S, H, D), and None for the weights.

    Raises:
        VisibilityError: the call is not the one the plan was made for.
    """
    if not is_planned(module, attention_mask, latentvr_plan):
        return sdpa_attention_forward(  # type: ignore[no-any-return, unused-ignore]
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    plan = check_call(latentvr_plan, TwoPassPlan, module, query, key, attention_mask, kwargs)
    query, key = one_type(query, key, value)
    return _run(plan, query, key, value, scaling, dropout), None


def _run(
    plan: TwoPassPlan, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
) -> Tensor:
    out: Tensor | None = None
    for one in plan.passes:
        picked = [_pick(one, tensor) for tensor in (query, key, value)]
        result = causal_attention(picked[0], picked[1], picked[2], scale, dropout)
        if out is None and one.tokens is None:
            # Rows that are not this pass's own are overwritten by theirs, or are padding.
            out = nn.functional.pad(result, (0, 0, 0, plan.length - one.width)).flatten(0, 1)
            continue
        if out is None:
            out = result.new_zeros(plan.batch * plan.length, result.shape[-1])
        out = out.index_copy(0, one.placed, result.flatten(0, 1).index_select(0, one.taken))
    if out is None:  # nothing but padding
        out = value.new_zeros(plan.batch * plan.length, query.shape[1] * value.shape[-1])
    return out.view(plan.batch, plan.length, query.shape[1], value.shape[-1])


def _pick(one: PaddedPass, states: Tensor) -> Tensor:
    if one.tokens is None:
        return states[:, :, : one.width]
    batch, heads, _, size = states.shape
    # Decoders hand over a transposed view, so that flattening is free and a token is one run of memory.
    flat = states.transpose(1, 2).flatten(2).flatten(0, 1)
    return flat.index_select(0, one.tokens).view(batch, one.width, heads, size).transpose(1, 2)


def _padded_pass(one: Pass, roles: Tensor) -> PaddedPass | None:
    batch, length = roles.shape
    first = torch.arange(batch, device=roles.device)[:, None]
    tokens, rows = pass_tokens(one, roles, first.expand_as(roles))
    counts = tokens.sum(1)
    width = int(counts.max()) if batch else 0
    if width == 0:
        return None
    place = torch.arange(length, device=roles.device)
    is_prefix = bool((tokens == (place < counts[:, None])).all())
    # A short row is filled up with tokens of its own that come after: causality hides them, and as
    # none comes twice, the gradient of a gather has no collisions.
    order = torch.argsort((~tokens).to(torch.int8), dim=1, stable=True)[:, :width]
    taken = rows.gather(1, order) & tokens.gather(1, order)
    flat = (order + first * length).flatten()
    picked = taken.flatten().nonzero().squeeze(1)
    return PaddedPass(width, None if is_prefix else flat, picked, flat[picked])


def _refuse_packed(roles: Tensor, documents: Tensor) -> None:
    real = roles != int(Role.PAD)
    most = torch.iinfo(documents.dtype)
    highest = documents.masked_fill(~real, most.min).amax(1)
    lowest = documents.masked_fill(~real, most.max).amin(1)
    packed = (real.any(1) & (highest != lowest)).nonzero().squeeze(1)
    if len(packed):
        raise VisibilityError(
            f"expected one document per row for kernel=two_pass, got several, at row {int(packed[0])} of the "
            "batch; fix: use kernel=varlen for packed rows"
        )
