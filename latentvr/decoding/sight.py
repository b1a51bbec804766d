"""What each new token sees of the cache, kept from step to step instead of being computed anew.

Shape letters: B batch, S prompt, T columns of the cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentvr.attention.mask import check_roles, sight_table
from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility

NEW = (Role.ANSWER, Role.LATENT)


class Sight:
    """The mask rows of tokens written after a prompt, whose role is ANSWER or LATENT.

    Args:
        visibility: the blocked pairs.
        roles_BS: roles of the prompts.
        length: columns of the cache at its longest.
        whole: give masks of full length, for a static cache.
        always: give a mask where there is nothing to hide, too.

    Raises:
        VisibilityError: a shape or a role number is wrong.
    """

    def __init__(
        self, visibility: Visibility, roles_BS: Tensor, length: int, whole: bool, always: bool = False
    ) -> None:
        check_roles(roles_BS)
        batch, self._filled = roles_BS.shape
        self._whole = whole
        self._sees = {(query, key): visibility.sees(query, key) for query in NEW for key in NEW}
        seen = sight_table(visibility, roles_BS.device)[:, roles_BS.long()]
        self._rows = {role: seen.new_zeros(batch, length) for role in NEW}
        for role, rows in self._rows.items():
            rows[:, : self._filled] = seen[role]
        # New tokens that all see each other need no look at who is who.
        self._equal = all(self._sees.values())
        self._one = self._equal and torch.equal(*self._rows.values())
        self._plain = self._one and bool(seen[Role.ANSWER].all()) and not (whole or always)

    def step(self, latent_B: Tensor | None) -> Tensor | None:
        """Take in one new token per row.

        Args:
            latent_B: rows whose token is a latent one; None where none is.

        Returns:
            Bool mask (B, 1, 1, T), True = may attend, or None where every token sees all others.
        """
        column = self._filled
        self._filled += 1
        if self._plain:
            return None
        answer, latent = self._rows.values()
        for role, rows in self._rows.items():
            rows[:, column] = self._column(role, latent_B)
        alike = latent_B is None or self._one
        mask = answer if alike else torch.where(latent_B[:, None], latent, answer)  # type: ignore[index]
        mask = mask if self._whole else mask[:, : self._filled]
        if not self._equal:
            mask = mask.clone()
            mask[:, column] = True  # a token always sees itself
        return mask[:, None, None, :]

    def _column(self, query: Role, latent_B: Tensor | None) -> Tensor | bool:
        """Whether later tokens of a role see the new one."""
        sees_answer, sees_latent = self._sees[query, Role.ANSWER], self._sees[query, Role.LATENT]
        if latent_B is None or sees_answer == sees_latent:
            return sees_answer
        return latent_B if sees_latent else ~latent_B
