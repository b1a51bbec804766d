"""The three estimators of the divergence.

Breaks when: a sign or a factor is wrong, or an estimator lost its mean.
"""

from __future__ import annotations

import pytest
import torch

from latentvr.errors import UserError
from latentvr.rl.kl import kl_per_token


@pytest.mark.parametrize(("kind", "expected"), [("k1", 0.5), ("k2", 0.125), ("k3", 0.10653065971263342)])
def test_values(kind: str, expected: float) -> None:
    found = kl_per_token(torch.tensor([[-1.0]]), torch.tensor([[-1.5]]), kind)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_equal_models_have_no_divergence(kind: str) -> None:
    log_probs = torch.randn(3, 5).log_softmax(-1)
    found = kl_per_token(log_probs, log_probs.clone(), kind)  # type: ignore[arg-type]
    assert torch.equal(found, torch.zeros(3, 5))


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_the_mean_is_the_divergence(kind: str) -> None:
    random = torch.Generator().manual_seed(0)
    policy, other = torch.randn(2, 6, generator=random, dtype=torch.float64).log_softmax(-1)
    truth = (policy.exp() * (policy - other)).sum()
    # The mean over the policy's own distribution, without sampling.
    found = (policy.exp() * kl_per_token(policy, other, kind)).sum()  # type: ignore[arg-type]
    assert found.item() == pytest.approx(truth.item(), rel=1e-12)


@pytest.mark.parametrize("kind", ["k2", "k3"])
def test_never_negative(kind: str) -> None:
    log_probs, reference = -3 * torch.rand(2, 100, generator=torch.Generator().manual_seed(1))
    assert (kl_per_token(log_probs, reference, kind) >= 0).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "slope"), [("k1", 1.0), ("k2", 0.5), ("k3", 1 - 0.6065306597126334)])
def test_gradients(kind: str, slope: float) -> None:
    log_probs = torch.tensor([[-1.0]], requires_grad=True)
    kl_per_token(log_probs, torch.tensor([[-1.5]]), kind).sum().backward()  # type: ignore[arg-type]
    assert log_probs.grad is not None
    assert log_probs.grad.item() == pytest.approx(slope, rel=1e-6)


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(UserError, match="expected kl k1, k2 or k3, got 'k4'"):
        kl_per_token(torch.zeros(1, 1), torch.zeros(1, 1), "k4")  # type: ignore[arg-type]
