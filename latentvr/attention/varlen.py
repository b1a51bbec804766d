"""The kernel for packed rows: one variable-length causal call per pass over the flattened batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from latentvr.attention.flash import Documents, flash_documents
from latentvr.attention.mask import check_roles
from latentvr.attention.passes import Pass, decompose, pass_tokens
from latentvr.attention.planned import (
    Plan,
    causal_attention,
    check_call,
    is_planned,
    one_type,
)
from latentvr.attention.visibility import Visibility


@dataclass(frozen=True)
class VarlenPass:
    """One pass over the documents of a flattened batch.

    Attributes:
        tokens: places of its T tokens in the flattened (B * S) batch, document by document,
            shape (T,); None where they are all tokens in order.
        bounds: where each of the N documents starts among them, and T, shape (N + 1,), int32.
        edges: `bounds` as numbers, so that no layer waits for the device.
        taken: rows to take from the result, shape (R,).
        placed: where they go in the flattened output, shape (R,).
    """

    tokens: Tensor | None
    bounds: Tensor
    edges: tuple[int, ...]
    taken: Tensor
    placed: Tensor

    @property
    def longest(self) -> int:
        """Most tokens in one document."""
        return max(end - start for start, end in zip(self.edges, self.edges[1:], strict=False))


@dataclass(frozen=True)
class VarlenPlan(Plan):
    """The passes of one batch.

    Attributes:
        passes: what to run; rows of padding belong to none.
    """

    passes: tuple[VarlenPass, ...]


def varlen_plan(visibility: Visibility, roles: Tensor, documents: Tensor | None = None) -> VarlenPlan:
    """Build the plan of a batch on the device of `roles`.

    Args:
        visibility: the blocked pairs.
        roles: role numbers, shape (B, S), padding anywhere.
        documents: document numbers, shape (B, S), counted per row; None where a row is one document.

    Returns:
        The plan, for `latentvr_plan`.

    Raises:
        VisibilityError: a role does not see itself, or a shape is wrong.
    """
    check_roles(roles, documents)
    batch, length = roles.shape
    segments = torch.arange(batch, device=roles.device)[:, None].expand_as(roles)
    if documents is not None:
        numbers = torch.unique(documents, return_inverse=True)[1]
        segments = segments * (batch * length) + numbers
        segments = torch.unique(segments, return_inverse=True)[1]
    found = (_varlen_pass(one, roles, segments) for one in decompose(visibility, "varlen"))
    return VarlenPlan(batch, length, tuple(one for one in found if one is not None))


def varlen_attention(
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

    Half precision on CUDA runs a variable-length flash kernel, that of flash-attn where it is installed
    and torch's own elsewhere; other tensors run document by document, with the same result.

    Args:
        module: the attention layer.
        query: shape (B, H, S, D).
        key: shape (B, Hk, S, D).
        value: shape (B, Hk, S, D).
        attention_mask: the placeholder, or None; without a plan, any mask that sdpa takes.
        scaling: factor of the scores.
        dropout: probability of dropping an attention weight.
        latentvr_plan: a `VarlenPlan`, or None.
        **kwargs: other arguments of the layer.

    Returns:
        The output, shape (B, S, H, D), and None for the weights.

    Raises:
        VisibilityError: the call is not the one the plan was made for, or torch's flash kernel is
            asked for dropout.
    """
    if not is_planned(module, attention_mask, latentvr_plan):
        return sdpa_attention_forward(  # type: ignore[no-any-return, unused-ignore]
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    plan = check_call(latentvr_plan, VarlenPlan, module, query, key, attention_mask, kwargs)
    query, key = one_type(query, key, value)
    return _run(plan, query, key, value, scaling, dropout), None


def _run(
    plan: VarlenPlan, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
) -> Tensor:
    flat = [states.transpose(1, 2).flatten(0, 1) for states in (query, key, value)]
    rows, placed = [], []
    for one in plan.passes:
        picked = flat if one.tokens is None else [states.index_select(0, one.tokens) for states in flat]
        result = _causal_documents(one, picked[0], picked[1], picked[2], scale, dropout)
        rows.append(result.index_select(0, one.taken))
        placed.append(one.placed)
    out = value.new_zeros(plan.batch * plan.length, query.shape[1] * value.shape[-1])
    if rows:
        out = out.index_copy(0, torch.cat(placed), torch.cat(rows))
    return out.view(plan.batch, plan.length, query.shape[1], value.shape[-1])


def _causal_documents(
    one: VarlenPass, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float
) -> Tensor:
    """Attend within each document; takes (T, heads, D) and gives (T, H * D)."""
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return flash_documents(query, key, value, Documents(one.bounds, one.longest), scale, dropout)
    results = []
    for start, end in zip(one.edges, one.edges[1:], strict=False):
        part = [states[start:end].transpose(0, 1)[None] for states in (query, key, value)]
        results.append(causal_attention(part[0], part[1], part[2], scale, dropout)[0])
    return torch.cat(results)


def _varlen_pass(one: Pass, roles: Tensor, segments: Tensor) -> VarlenPass | None:
    tokens, rows = pass_tokens(one, roles, segments)
    places = tokens.flatten().nonzero().squeeze(1)
    if len(places) == 0:
        return None
    owners = segments.flatten()[places]
    places = places[torch.argsort(owners, stable=True)]  # a document may lie in pieces
    lengths = torch.bincount(owners)
    lengths = lengths[lengths > 0]
    bounds = nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    taken = rows.flatten()[places].nonzero().squeeze(1)
    everything = len(places) == roles.numel() and bool((places.diff() == 1).all())
    return VarlenPass(None if everything else places, bounds, tuple(bounds.tolist()), taken, places[taken])
