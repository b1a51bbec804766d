"""Variable-length causal attention on CUDA: flash-attn where it is installed, else torch's own flash kernel.

Both attend within documents that lie end to end. How each is called is worked out by functions without a
device, so that it can be looked at anywhere.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, cast

from torch import Tensor

from latentvr.attention.planned import shares_key_heads
from latentvr.errors import VisibilityError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Documents:
    """Documents end to end.

    Attributes:
        bounds: where each of N documents starts, and T, shape (N + 1,), int32.
        longest: most tokens in one of them.
    """

    bounds: Tensor
    longest: int


def flash_documents(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scale: float | None, dropout: float
) -> Tensor:
    """Attend causally within each document, in half precision on CUDA.

    Args:
        query: shape (T, H, D).
        key: shape (T, Hk, D), Hk divides H.
        value: shape (T, Hk, D).
        documents: which tokens belong together.
        scale: factor of the scores; None means 1 / sqrt(D).
        dropout: probability of dropping an attention weight.

    Returns:
        Shape (T, H * D).

    Raises:
        VisibilityError: torch's kernel is asked for dropout.
    """
    if flash_attn_installed():
        function = _flash_attn()
        call = flash_attn_call(query, key, value, documents, scale, dropout)
    else:
        function, accepted = _torch_kernel()
        call = torch_call(query, key, value, documents, scale, dropout, accepted)
    out = function(*call[0], **call[1])
    return cast(Tensor, out).flatten(1)  # a pair only where the soft-max sums are asked for


def flash_attn_call(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scale: float | None, dropout: float
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of `flash_attn.flash_attn_varlen_func`, which takes fewer key heads and dropout."""
    tensors = tuple(states.contiguous() for states in (query, key, value))
    bounds, longest = documents.bounds, documents.longest
    return (*tensors, bounds, bounds, longest, longest), {
        "dropout_p": dropout,
        "softmax_scale": scale,
        "causal": True,
    }


def torch_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    documents: Documents,
    scale: float | None,
    dropout: float,
    accepted: Collection[str],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of `torch.nn.attention.varlen.varlen_attn`.

    Args:
        query: shape (T, H, D).
        key: shape (T, Hk, D).
        value: shape (T, Hk, D).
        documents: which tokens belong together.
        scale: factor of the scores.
        dropout: probability of dropping an attention weight.
        accepted: names of the function's parameters; releases of torch differ in how causality is asked for,
            and in whether key heads may be fewer.

    Returns:
        Positional and named arguments.

    Raises:
        VisibilityError: there is dropout, which this kernel has not.
    """
    if dropout:
        raise VisibilityError(
            f"expected no attention dropout for kernel=varlen on CUDA without flash-attn, got {dropout}, at "
            "the attention layer; fix: set attention_dropout to 0, install flash-attn, or use "
            "kernel=two_pass on padded rows"
        )
    named: dict[str, Any] = {"scale": scale}
    named.update({"window_size": (-1, 0)} if "window_size" in accepted else {"is_causal": True})
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and "enable_gqa" in accepted and shares_key_heads(query, value):
        named["enable_gqa"] = True
    elif groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    tensors = tuple(states.contiguous() for states in (query, key, value))
    bounds, longest = documents.bounds, documents.longest
    return (*tensors, bounds, bounds, longest, longest), named


@functools.cache
def flash_attn_installed() -> bool:
    """Tell whether the package flash-attn, version 2, is there; it is not imported."""
    if find_spec("flash_attn") is None:
        return False
    try:
        return version("flash-attn").startswith("2.")
    except PackageNotFoundError:
        return False


@functools.cache
def _flash_attn() -> Callable[..., Any]:
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found, unused-ignore]

    log.info("kernel=varlen: flash-attn %s", version("flash-attn"))
    return cast("Callable[..., Any]", flash_attn_varlen_func)


@functools.cache
def _torch_kernel() -> tuple[Callable[..., Any], frozenset[str]]:
    # Imported here as torch loads its flash kernels with it.
    from torch.nn.attention.varlen import varlen_attn

    log.info("kernel=varlen: torch's own flash kernel")
    return varlen_attn, frozenset(inspect.signature(varlen_attn).parameters)
