"""The four attention paths behind one door: choose, name, prepare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import flex_attention_mask, sdpa_mask

from latentvr.attention.flex import block_mask, flex_kernel
from latentvr.attention.mask import additive, reference_mask
from latentvr.attention.passes import decompose
from latentvr.attention.planned import PLAN_KEY, placeholder_mask
from latentvr.attention.roles import Role
from latentvr.attention.two_pass import two_pass_attention, two_pass_plan
from latentvr.attention.varlen import varlen_attention, varlen_plan
from latentvr.attention.visibility import Visibility
from latentvr.errors import VisibilityError

KERNELS = ("two_pass", "varlen", "mask", "flex")

# transformers looks for "sdpa", "flash" and "flex_attention" inside a name and then asks the model class
# whether it supports them; Qwen's classes do not declare flex, which works none the less.
_NAMES = {"two_pass": "latentvr_two_pass", "varlen": "latentvr_varlen", "flex": "latentvr_flex"}

AttentionInterface.register(_NAMES["two_pass"], two_pass_attention)
AttentionInterface.register(_NAMES["varlen"], varlen_attention)
AttentionInterface.register(_NAMES["flex"], flex_kernel)
# Calls without a plan (decoding) need their masks: a name that is absent here gets none, not even causality.
AttentionMaskInterface.register(_NAMES["two_pass"], sdpa_mask)
AttentionMaskInterface.register(_NAMES["varlen"], sdpa_mask)
AttentionMaskInterface.register(_NAMES["flex"], flex_attention_mask)


@dataclass(frozen=True)
class AttentionInputs:
    """What goes to the text decoder besides embeddings and positions.

    Attributes:
        attention_mask: its `attention_mask`.
        kwargs: further keyword arguments, such as the plan.
    """

    attention_mask: Tensor | BlockMask | None
    kwargs: dict[str, Any] = field(default_factory=dict)


def implementation(kernel: str, *, eager: bool = False) -> str:
    """Return the name for `model.set_attn_implementation({"text_config": name})`.

    Args:
        kernel: one of `KERNELS`.
        eager: with kernel=mask, eager attention (which can return its weights) and not sdpa.

    Returns:
        A name that transformers knows.

    Raises:
        VisibilityError: there is no such kernel, or it has no eager form.
    """
    _check_kernel(kernel, eager)
    if kernel == "mask":
        return "eager" if eager else "sdpa"
    return _NAMES[kernel]


def resolve(kernel: str, visibility: Visibility, *, packed: bool = False) -> str:
    """Choose the kernel of a run once; the caller logs it.

    "auto" is two_pass for padded batches and varlen for packed ones, or mask where the visibility
    is none that causal passes can express. flex is taken only when asked for.

    Args:
        kernel: one of `KERNELS`, or "auto".
        visibility: the blocked pairs.
        packed: whether rows hold several documents.

    Returns:
        One of `KERNELS`.

    Raises:
        VisibilityError: there is no such kernel, or it cannot honour the visibility or the packing.
    """
    if kernel == "auto":
        sees_itself = all(query is not key or query is Role.PAD for query, key in visibility.blocked)
        fast = "varlen" if packed else "two_pass"
        return fast if sees_itself else "mask"
    _check_kernel(kernel, eager=False)
    if kernel in ("two_pass", "varlen"):
        decompose(visibility, kernel)
    if kernel == "two_pass" and packed:
        raise VisibilityError(
            "expected one document per row for kernel=two_pass, got packed rows, at the choice of the "
            "attention kernel; fix: use kernel=varlen"
        )
    return kernel


def prepare(
    kernel: str,
    visibility: Visibility,
    roles: Tensor,
    documents: Tensor | None = None,
    *,
    dtype: torch.dtype,
    eager: bool = False,
) -> AttentionInputs:
    """Make the decoder's attention arguments for one batch, on the device of `roles`.

    Args:
        kernel: one of `KERNELS`; the model must be set to `implementation(kernel, eager=eager)`.
        visibility: the blocked pairs.
        roles: role numbers, shape (B, S), padding anywhere.
        documents: document numbers of packed rows, shape (B, S).
        dtype: type of the decoder's activations.
        eager: with kernel=mask, make the mask that eager attention adds to its scores.

    Returns:
        The mask and keyword arguments. Pass explicit `position_ids` with them: the model cannot
        tell padding from a 4-D mask.

    Raises:
        VisibilityError: the kernel cannot honour the visibility or the packing, or a shape is wrong.
    """
    _check_kernel(kernel, eager)
    if kernel == "mask":
        mask = reference_mask(visibility, roles, documents)
        return AttentionInputs(additive(mask, dtype) if eager else mask)
    if kernel == "flex":
        return AttentionInputs(block_mask(visibility, roles, documents))
    build = two_pass_plan if kernel == "two_pass" else varlen_plan
    plan = build(visibility, roles, documents)
    return AttentionInputs(placeholder_mask(roles.device), {PLAN_KEY: plan})


def _check_kernel(kernel: str, eager: bool) -> None:
    if kernel.startswith("flash_attention"):
        raise VisibilityError(
            f"expected an attention kernel of {', '.join(KERNELS)}, got {kernel!r} which drops every "
            "visibility without a word, at the choice of the attention kernel; fix: use kernel=two_pass or "
            "kernel=varlen, which run flash kernels"
        )
    if kernel not in KERNELS:
        raise VisibilityError(
            f"expected an attention kernel of {', '.join(KERNELS)}, got {kernel!r}, at the choice of the "
            "attention kernel; fix: use one of these names or auto"
        )
    if eager and kernel != "mask":
        raise VisibilityError(
            f"expected kernel=mask for eager attention, got {kernel!r}, at the choice of the attention "
            "kernel; fix: use kernel=mask"
        )
