"""The kernel for flex attention: the visibility as a mask function over blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from latentvr.attention.mask import check_roles, sight_table
from latentvr.attention.planned import one_type
from latentvr.attention.visibility import Visibility
from latentvr.errors import VisibilityError


def block_mask(visibility: Visibility, roles: Tensor, documents: Tensor | None = None) -> BlockMask:
    """Build the block mask of a batch; it says the same as `reference_mask`.

    Documents are told apart here and not by transformers, whose releases differ in what position
    they hand to a mask function when rows are packed.

    Args:
        visibility: the blocked pairs.
        roles: role numbers, shape (B, S), padding anywhere.
        documents: document numbers of packed rows, shape (B, S).

    Returns:
        A block mask of shape (B, 1, S, S).

    Raises:
        VisibilityError: a shape or a role number is wrong.
    """
    check_roles(roles, documents)
    batch, length = roles.shape
    numbers = roles.long()
    owner = torch.zeros_like(numbers) if documents is None else documents
    table = sight_table(visibility, roles.device)

    def may_attend(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        sees = table[numbers[row, query], numbers[row, key]] & (owner[row, query] == owner[row, key])
        return (sees & (key <= query)) | (key == query)

    return create_block_mask(may_attend, batch, None, length, length, device=str(roles.device))


def flex_kernel(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend with flex attention; a step of decoding, which comes with a bool mask, is stock sdpa.

    transformers would add any tensor to the scores: a bool one would hide next to nothing.

    Args:
        module: the attention layer.
        query: shape (B, H, S, D).
        key: shape (B, Hk, S, D).
        value: shape (B, Hk, S, D).
        attention_mask: a block mask; in decoding, a bool mask (B, 1, S, keys), True where a query sees.
        **kwargs: other arguments of the layer.

    Returns:
        The output, shape (B, S, H, D), and the log of the soft-max sums, or None on a CPU.

    Raises:
        VisibilityError: there is no mask (which would leave not even causality) or one of numbers, or
            gradients are asked for on a CPU, where flex attention has none.
    """
    if isinstance(attention_mask, Tensor) and attention_mask.dtype == torch.bool:
        return sdpa_attention_forward(  # type: ignore[no-any-return, unused-ignore]
            module, query, key, value, attention_mask, **kwargs
        )
    states = (query, key, value)
    if query.device.type == "cpu" and torch.is_grad_enabled() and any(t.requires_grad for t in states):
        raise VisibilityError(
            f"expected CUDA for gradients with kernel=flex, got the CPU, at {type(module).__name__}; "
            "fix: set model.attention=varlen, or model.attention=mask"
        )
    if not isinstance(attention_mask, BlockMask):
        found = "none" if attention_mask is None else f"a tensor of {attention_mask.dtype}"
        raise VisibilityError(
            f"expected a block mask or a bool mask for kernel=flex, got {found}, at {type(module).__name__}; "
            "fix: pass AttentionInputs.attention_mask on to the text decoder"
        )
    query, key = one_type(query, key, value)
    return flex_attention_forward(  # type: ignore[no-any-return, unused-ignore]
        module, query, key, value, attention_mask, **kwargs
    )
