"""The reference: a visibility written out as a 4-D mask, for any kernel that takes one."""

from __future__ import annotations

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.errors import VisibilityError


def sight_table(visibility: Visibility, device: torch.device | str = "cpu") -> Tensor:
    """Return the visibility as a bool table of shape (5, 5): [query role, key role], True = sees."""
    rows = [[visibility.sees(query, key) for key in Role] for query in Role]
    return torch.tensor(rows, dtype=torch.bool, device=device)


def check_roles(roles: Tensor, documents: Tensor | None = None) -> None:
    """Check the shapes and values that every kernel takes.

    Args:
        roles: role numbers, shape (B, S).
        documents: document numbers, shape (B, S), or None where a row is one document.

    Raises:
        VisibilityError: a shape or a role number is wrong.
    """
    if roles.dim() != 2:
        raise VisibilityError(
            f"expected roles of shape (batch, length), got shape {tuple(roles.shape)}, at the attention "
            "plan; fix: pass one row of roles per sequence"
        )
    if documents is not None and documents.shape != roles.shape:
        raise VisibilityError(
            f"expected documents of the shape of roles {tuple(roles.shape)}, got {tuple(documents.shape)}, "
            "at the attention plan; fix: give every token its document number"
        )
    if documents is not None and documents.dtype.is_floating_point:
        raise VisibilityError(
            f"expected whole document numbers, got {documents.dtype}, at the attention plan; "
            "fix: pass an integer tensor"
        )
    if roles.numel() and not 0 <= int(roles.min()) <= int(roles.max()) < len(Role):
        raise VisibilityError(
            f"expected role numbers from 0 to {len(Role) - 1}, got {int(roles.min())} to {int(roles.max())}, "
            "at the attention plan; fix: build roles from latentvr.attention.Role"
        )


def reference_mask(
    visibility: Visibility,
    roles: Tensor,
    documents: Tensor | None = None,
    shared: int | None = None,
    first: int = 0,
) -> Tensor:
    """Return the mask of a whole sequence; every other kernel must agree with it.

    Every token sees itself, padding included (an empty row would turn into NaN); padding sees
    nothing else and nothing else sees it.

    Args:
        visibility: the blocked pairs.
        roles: role numbers, shape (B, S), padding anywhere.
        documents: document numbers of packed rows, shape (B, S).
        shared: number of a document that the later ones of its row see too, as if each came right after it.
        first: first query column; earlier ones are in a cache.

    Returns:
        A bool mask of shape (B, 1, S - first, S), [query, key], True = may attend.

    Raises:
        VisibilityError: a shape or a role number is wrong.
    """
    check_roles(roles, documents)
    numbers = roles.long()
    length = roles.shape[1]
    causal = torch.ones(length - first, length, dtype=torch.bool, device=roles.device).tril(first)
    mask = sight_table(visibility, roles.device)[numbers[:, first:, None], numbers[:, None, :]] & causal
    if documents is not None:
        same = documents[:, first:, None] == documents[:, None, :]
        mask = mask & (same if shared is None else same | torch.eq(documents, shared)[:, None, :])
    itself = torch.eye(length, dtype=torch.bool, device=roles.device)[first:]
    return (mask | itself)[:, None]


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a bool mask into the one that eager attention adds to its scores.

    Eager attention given a bool mask adds 0 and 1 to the scores, and says nothing.

    Args:
        mask: bool, any shape, True = may attend.
        dtype: floating type of the scores.

    Returns:
        A tensor of the same shape: 0 where the mask is True, the lowest finite number elsewhere.
    """
    lowest = torch.finfo(dtype).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, lowest)


def decode_mask(
    visibility: Visibility, key_roles: Tensor, query_role: Role | Tensor, own_column: int = -1
) -> Tensor:
    """Return the mask of one new token per row over a cache.

    Args:
        visibility: the blocked pairs.
        key_roles: role numbers of the cache, the new token included, shape (B, T); slots of a
            static cache that are not yet written are `Role.PAD`.
        query_role: role of the new token: one for all rows, or a tensor of shape (B,).
        own_column: column of the new token itself, which it always sees.

    Returns:
        A bool mask of shape (B, 1, 1, T), True = may attend.

    Raises:
        VisibilityError: a shape or a role number is wrong.
    """
    check_roles(key_roles)
    batch = key_roles.shape[0]
    if isinstance(query_role, Role):
        query_role = torch.full((batch,), int(query_role), device=key_roles.device)
    table = sight_table(visibility, key_roles.device)
    mask = table[query_role.long()[:, None], key_roles.long()]
    mask[:, own_column] = True
    return mask[:, None, None, :]
