"""The split of a visibility into causal passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentvr.attention.passes import decompose, pass_tokens
from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, PRESETS, Visibility
from latentvr.errors import VisibilityError

RolesOf = Callable[[list[str]], Tensor]


@pytest.mark.parametrize(
    ("name", "count"),
    [("causal", 1), ("bottleneck", 2), ("answer_only", 2), ("bottleneck_blind_latents", 3)],
)
def test_presets_take_as_few_passes_as_they_have_views(name: str, count: int) -> None:
    assert len(decompose(PRESETS[name], "two_pass")) == count


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_role_is_a_query_once_and_sees_exactly_its_keys(name: str) -> None:
    passes = decompose(PRESETS[name], "two_pass")
    for query in set(Role) - {Role.PAD}:
        (own,) = [one for one in passes if query in one.queries]
        assert own.keys == {key for key in Role if PRESETS[name].sees(query, key)}


def test_the_widest_pass_comes_first() -> None:
    assert Role.IMAGE in decompose(BOTTLENECK, "two_pass")[0].keys


def test_a_role_that_does_not_see_itself_is_refused_by_name() -> None:
    lonely = Visibility("lonely", frozenset({(Role.LATENT, Role.LATENT)}))
    with pytest.raises(VisibilityError, match=r"kernel=varlen.*LATENT, LATENT.*kernel=mask"):
        decompose(lonely, "varlen")


def test_tokens_after_the_last_row_are_left_out(roles_of: RolesOf) -> None:
    roles = roles_of(["PIILAA", "PPAIPA"])
    segments = torch.tensor([[0] * 6, [1] * 6])
    wide, narrow = (pass_tokens(one, roles, segments) for one in decompose(BOTTLENECK, "two_pass"))
    assert wide[0].int().tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert wide[1].int().tolist() == [[0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]]
    assert narrow[0].int().tolist() == [[1, 0, 0, 1, 1, 1], [1, 1, 1, 0, 1, 1]]
    assert narrow[1].int().tolist() == [[1, 0, 0, 0, 1, 1], [1, 1, 1, 0, 1, 1]]
