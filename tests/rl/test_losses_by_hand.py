"""The policy loss where it can be worked out by hand, and what it refuses.

Breaks when: a ratio is clipped on the wrong side or for the wrong sign, or one mean is taken for another.
"""

from __future__ import annotations

import pytest
import torch

from latentvr.errors import UserError
from latentvr.rl.losses import Penalty, clipped, reduced, token_losses


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "low", "high"),
    [
        (1.5, 1.0, -1.3, 0.0, False, True),
        (1.5, -1.0, 1.5, 1.5, False, False),
        (0.5, -1.0, 0.8, 0.0, True, False),
        (0.5, 1.0, -0.5, -0.5, False, False),
        (1.1, 2.0, -2.2, -2.2, False, False),
        (1.5, 0.0, 0.0, 0.0, False, False),
        (0.5, 0.0, 0.0, 0.0, False, False),
    ],
)
def test_where_the_ratio_is_clipped(
    ratio: float, advantage: float, loss: float, slope: float, low: bool, high: bool
) -> None:
    log_probs = torch.tensor([[ratio]]).log().requires_grad_()
    arguments = (log_probs, torch.zeros(1, 1), torch.tensor([advantage]), 0.2, 0.3)
    found, divergence = token_losses(*arguments)
    assert divergence is None
    found.sum().backward()
    assert log_probs.grad is not None
    assert [found.item(), log_probs.grad.item()] == pytest.approx([loss, slope], rel=1e-6)
    assert [flag.item() for flag in clipped(*arguments)] == [low, high]


def test_a_closed_form_says_where_it_holds() -> None:
    with pytest.raises(UserError, match="expected exact_at_BT and exact_BT together"):
        Penalty(0.1, torch.zeros(1, 1), exact_BT=torch.zeros(1, 1))


def test_an_unknown_mean_is_refused() -> None:
    with pytest.raises(UserError, match="expected loss_type grpo, bnpo, dapo or dr_grpo, got 'cispo'"):
        reduced(
            torch.ones(1, 1), torch.ones(1, 1), "cispo", accumulation=1, items=torch.tensor(1), processes=1,
            steps_per_generation=1, max_length=1,
        )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("grpo", (2.0 + 7.0) / 2 / 3),
        ("bnpo", 13 / 4 / 3),
        ("dapo", 13 / (40 / 2 * 3 / 6)),
        ("dr_grpo", 13 / 10 / 3),
    ],
)
def test_the_four_means(loss_type: str, expected: float) -> None:
    losses = torch.tensor([[1.0, 2.0, 3.0], [100.0, 7.0, 100.0]])
    mask = torch.tensor([[True, True, True], [False, True, False]])
    found = reduced(
        losses, mask, loss_type, accumulation=3, items=torch.tensor(40), processes=2, steps_per_generation=6,
        max_length=5,
    )  # type: ignore[arg-type]  # fmt: skip
    assert found.item() == pytest.approx(expected)
