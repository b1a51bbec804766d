"""One attention layer under each kernel, on random queries, keys and values, and the same in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from latentvr.attention.kernels import implementation, prepare
from latentvr.attention.mask import reference_mask
from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility

LATENTS, ANSWERS = 16, 8


@dataclass(frozen=True)
class Heads:
    """Query heads, key heads and their size."""

    queries: int
    keys: int
    size: int


class _Layer(nn.Module):
    """What kernels ask of the layer that they serve."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


def make_roles(length: int, images: int) -> Tensor:
    """Roles (2, length): three quarters image, a question, latents, an answer; the second row is shorter."""
    both = []
    for size in (length, length - length // 8):
        shown = 3 * size // 4 // images
        text = size - shown * images - LATENTS - ANSWERS
        between = text // (images + 1)
        row = ([Role.PROMPT] * between + [Role.IMAGE] * shown) * images
        row += [Role.PROMPT] * (text - between * images) + [Role.LATENT] * LATENTS + [Role.ANSWER] * ANSWERS
        both.append(row + [Role.PAD] * (length - size))
    return torch.tensor(both, dtype=torch.int8)


def states(heads: Heads, roles: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys and values as a decoder hands them over, and what the loss weighs the output with."""
    rows, length = roles.shape
    generator = torch.Generator(roles.device).manual_seed(0)
    return [
        torch.randn(
            rows, length, count, heads.size, generator=generator, device=roles.device, dtype=torch.float32
        ).to(dtype)
        for count in (heads.queries, heads.keys, heads.keys, heads.queries)
    ]


def run(
    kernel: str, visibility: Visibility, roles: Tensor, given: list[Tensor], documents: Tensor | None = None
) -> list[Tensor]:
    """Output of a layer under a kernel, padding zero, and the gradients of queries, keys and values."""
    attend = AttentionInterface()[implementation(kernel)]
    inputs = prepare(kernel, visibility, roles, documents, dtype=given[0].dtype)
    query, key, value = (state.detach().requires_grad_() for state in given[:3])
    layer = _Layer(query.shape[2] // key.shape[2])
    heads_first = [state.transpose(1, 2) for state in (query, key, value)]
    scaling = query.shape[-1] ** -0.5
    out = attend(layer, *heads_first, inputs.attention_mask, scaling=scaling, dropout=0.0, **inputs.kwargs)[0]
    return _with_gradients(out, roles, given[3], [query, key, value])


def exact(
    visibility: Visibility, roles: Tensor, given: list[Tensor], documents: Tensor | None = None
) -> list[Tensor]:
    """The same with the 4-D mask in float64, head by head, as all at once would fill the memory."""
    query, key, value, weights = (state.double() for state in given)
    mask = reference_mask(visibility, roles, documents)
    groups = query.shape[2] // key.shape[2]
    out, grads = torch.zeros_like(query), [torch.zeros_like(state) for state in (query, key, value)]
    for head in range(query.shape[2]):
        at = (head, head // groups, head // groups)
        one = [
            state[:, :, i].detach().requires_grad_() for state, i in zip((query, key, value), at, strict=True)
        ]
        scores = one[0] @ one[1].transpose(1, 2) * query.shape[-1] ** -0.5
        shares = scores.masked_fill_(~mask[:, 0], float("-inf")).softmax(-1)
        found = _with_gradients(shares @ one[2], roles, weights[:, :, head], one)
        out[:, :, head] = found[0]
        for total, part, i in zip(grads, found[1:], at, strict=True):
            total[:, :, i] += part
    return [out, *grads]


def _with_gradients(out: Tensor, roles: Tensor, weights: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Output and gradients; nothing depends on what stands in padding."""
    real = (roles != int(Role.PAD))[(..., *[None] * (out.dim() - 2))]
    out = torch.where(real, out, 0)
    grads = torch.autograd.grad((out * weights).sum(), inputs)
    return [out.detach(), *grads]


def error(found: list[Tensor], expected: list[Tensor]) -> tuple[float, float]:
    """Largest error of the output and of the gradients, each as a share of the largest number in it."""
    shares = [
        float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)
    ]
    return shares[0], max(shares[1:])
