"""The reference mask against tables written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentvr.attention.mask import additive, decode_mask, reference_mask
from latentvr.attention.roles import Role
from latentvr.attention.visibility import PRESETS
from latentvr.errors import VisibilityError

RolesOf = Callable[[list[str]], Tensor]

# Tokens: image, prompt, latent, latent, answer, padding. Row = query, column = key, 1 = sees.
TABLES = {
    "causal": ["100000", "110000", "111000", "111100", "111110", "000001"],
    "bottleneck": ["100000", "010000", "111000", "111100", "011110", "000001"],
    "answer_only": ["100000", "110000", "111000", "111100", "011110", "000001"],
    "bottleneck_blind_latents": ["100000", "010000", "101000", "101100", "011110", "000001"],
}


def read_table(table: list[str]) -> Tensor:
    return torch.tensor([[digit == "1" for digit in row] for row in table])


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_mask_is_the_table_written_by_hand(name: str, roles_of: RolesOf) -> None:
    mask = reference_mask(PRESETS[name], roles_of(["IPLLA."]))
    assert mask.shape == (1, 1, 6, 6)
    assert torch.equal(mask[0, 0], read_table(TABLES[name]))


def test_left_padding_is_seen_by_nothing(roles_of: RolesOf) -> None:
    mask = reference_mask(PRESETS["causal"], roles_of(["..PA"]))[0, 0]
    assert torch.equal(mask, read_table(["1000", "0100", "0010", "0011"]))


def test_documents_do_not_see_each_other(roles_of: RolesOf) -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1, 1]])
    mask = reference_mask(PRESETS["bottleneck"], roles_of(["ILAILA"]), documents)[0, 0]
    table = ["100000", "110000", "011000", "000100", "000110", "000011"]
    assert torch.equal(mask, read_table(table))


def test_additive_mask_is_zero_or_the_lowest_number() -> None:
    mask = additive(torch.tensor([[True, False]]), torch.bfloat16)
    assert mask.dtype == torch.bfloat16
    assert mask.tolist() == [[0.0, torch.finfo(torch.bfloat16).min]]


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("row", ["IPLLA", ".IPLL", "IPALI", "..IPP"])
def test_decode_mask_is_the_last_row_of_the_whole_mask(name: str, row: str, roles_of: RolesOf) -> None:
    roles = roles_of([row])
    whole = reference_mask(PRESETS[name], roles)
    assert torch.equal(decode_mask(PRESETS[name], roles, Role(int(roles[0, -1]))), whole[:, :, -1:])


def test_decode_mask_takes_one_role_per_row(roles_of: RolesOf) -> None:
    mask = decode_mask(PRESETS["bottleneck"], roles_of(["IPL", "IPA"]), torch.tensor([3, 4]))
    assert mask[:, 0, 0].tolist() == [[True, True, True], [False, True, True]]


def test_decode_mask_of_a_static_cache_sees_its_own_column(roles_of: RolesOf) -> None:
    mask = decode_mask(PRESETS["bottleneck"], roles_of(["IPA.."]), Role.ANSWER, own_column=2)
    assert mask[0, 0, 0].tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("roles", "documents", "said"),
    [
        (torch.zeros(4, dtype=torch.int8), None, r"\(batch, length\)"),
        (torch.full((1, 4), 5, dtype=torch.int8), None, "0 to 4"),
        (torch.zeros(1, 4, dtype=torch.int8), torch.zeros(1, 3).long(), "documents of the shape"),
        (torch.zeros(1, 4, dtype=torch.int8), torch.zeros(1, 4), "whole document numbers"),
    ],
)
def test_wrong_roles_are_refused(roles: Tensor, documents: Tensor | None, said: str) -> None:
    with pytest.raises(VisibilityError, match=said):
        reference_mask(PRESETS["causal"], roles, documents)
