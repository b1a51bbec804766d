"""The mask that decoding keeps from step to step is the one computed anew from all roles."""

from __future__ import annotations

import pytest
import torch

from latentvr.attention.mask import decode_mask
from latentvr.attention.roles import Role
from latentvr.attention.visibility import ANSWER_ONLY, BOTTLENECK, CAUSAL, Visibility
from latentvr.decoding.sight import Sight

BLIND = Visibility("blind", frozenset({(Role.ANSWER, Role.LATENT), (Role.LATENT, Role.ANSWER)}))
ALONE = Visibility("alone", frozenset({(Role.ANSWER, Role.ANSWER), (Role.ANSWER, Role.IMAGE)}))
VISIBILITIES = [CAUSAL, BOTTLENECK, ANSWER_ONLY, BLIND, ALONE]

P, V, L, A, N = (int(r) for r in (Role.PROMPT, Role.IMAGE, Role.LATENT, Role.ANSWER, Role.PAD))
PROMPTS = torch.tensor([[P, V, V, P, L], [N, N, P, V, P], [P, P, P, P, P]], dtype=torch.int8)
#: New tokens by step and row: True is a latent one.
STEPS = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("whole", [False, True], ids=["growing", "full length"])
@pytest.mark.parametrize("visibility", VISIBILITIES, ids=lambda v: v.name)
def test_every_step_is_the_mask_of_all_roles(visibility: Visibility, whole: bool) -> None:
    length = PROMPTS.shape[1] + len(STEPS)
    sight, roles = Sight(visibility, PROMPTS, length, whole), PROMPTS
    for latent in torch.tensor(STEPS).bool():
        new = torch.where(latent, L, A).to(torch.int8)
        roles = torch.cat([roles, new[:, None]], 1)
        found = sight.step(latent if latent.any() else None)
        seen = torch.nn.functional.pad(roles, (0, length - roles.shape[1]), value=N) if whole else roles
        own = roles.shape[1] - 1
        assert found is not None
        assert torch.equal(found, decode_mask(visibility, seen, new, own).expand_as(found))
        assert found.shape[-1] == seen.shape[1]


def test_without_padding_or_blocked_pairs_there_is_no_mask() -> None:
    full = PROMPTS[[0, 2]]
    assert Sight(CAUSAL, full, 9, whole=False).step(None) is None
    assert Sight(CAUSAL, PROMPTS, 9, whole=False).step(None) is not None
    assert Sight(BOTTLENECK, full, 9, whole=False).step(None) is not None
    assert Sight(CAUSAL, full, 9, whole=True).step(None) is not None
    forced = Sight(CAUSAL, full, 9, whole=False, always=True).step(None)
    assert forced is not None
    assert forced.all()
