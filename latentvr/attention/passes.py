"""A visibility as a few plain causal attentions, which every fast kernel can run.

Rows that see the same set of roles need plain causal attention over the tokens of that set and
nothing else. So one causal call ("pass") per distinct set, and each row taken from the pass of its
own role, is exact in value and gradient, without a mask and without merging soft-maxes. The
bottleneck of LIVR (stage 1) is two passes: image and latent rows over everything, prompt and answer
rows over all but the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.errors import VisibilityError


@dataclass(frozen=True)
class Pass:
    """One causal attention.

    Attributes:
        queries: roles whose rows are taken from this pass.
        keys: roles whose tokens take part; contains `queries`.
    """

    queries: frozenset[Role]
    keys: frozenset[Role]


def decompose(visibility: Visibility, kernel: str) -> tuple[Pass, ...]:
    """Split a visibility into passes, the one over most roles first.

    Args:
        visibility: the blocked pairs.
        kernel: name of the kernel that asks, for the message.

    Returns:
        The passes; every role but `PAD` is a query of exactly one.

    Raises:
        VisibilityError: a role does not see other tokens of its own role, which no causal
            attention can express.
    """
    groups: dict[frozenset[Role], set[Role]] = {}
    for query in Role:
        if query is Role.PAD:
            continue
        if not visibility.sees(query, query):
            raise VisibilityError(
                f"expected a visibility in which every role sees itself for kernel={kernel}, got "
                f"{visibility.name!r} which blocks ({query.name}, {query.name}), at the attention kernel; "
                "fix: use kernel=mask"
            )
        keys = frozenset(key for key in Role if visibility.sees(query, key))
        groups.setdefault(keys, set()).add(query)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[0]), min(item[1])))
    return tuple(Pass(frozenset(queries), keys) for keys, queries in ordered)


def pass_tokens(one: Pass, roles: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    """Find the tokens of a pass; those after its last row are left out, as nothing needs them.

    Args:
        one: the pass.
        roles: role numbers, shape (B, S).
        segments: which causal sequence each token belongs to, numbers from 0, shape (B, S).

    Returns:
        Two bool tensors of shape (B, S): tokens that take part, and tokens whose row is taken.
    """
    rows = _has_role(roles, one.queries)
    position = torch.arange(roles.shape[1], device=roles.device).expand_as(roles)
    count = int(segments.max()) + 1 if segments.numel() else 0
    last = torch.full((count,), -1, device=roles.device)
    last = last.scatter_reduce(0, segments[rows], position[rows], "amax")
    tokens = _has_role(roles, one.keys) & (position <= last[segments])
    return tokens, rows


def _has_role(roles: Tensor, wanted: frozenset[Role]) -> Tensor:
    table = torch.tensor([role in wanted for role in Role], device=roles.device)
    return table[roles.long()]
