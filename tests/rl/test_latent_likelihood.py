"""Densities of latents against closed forms, other implementations and sampling.

Breaks when: a factor or a logarithm is missing, the Bessel ratio overflows or stops too early, or small
differences vanish in half precision.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from latentvr.errors import UserError
from latentvr.rl.latent_likelihood import bessel_ratio, gaussian, gaussian_kl, vmf, vmf_kl

DOUBLE = torch.float64


def _states(rows: int, width: int, count: int, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=random, dtype=DOUBLE) for _ in range(count)]


def test_a_fixed_sigma() -> None:
    recorded, mean = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 4.0], [1.0, 1.0]])
    assert gaussian(recorded, mean, 10.0).tolist() == pytest.approx([-0.125, 0.0])


@pytest.mark.parametrize("columns", [1, 7])
def test_the_models_own_sigma_is_a_normal_density(columns: int) -> None:
    recorded, mean, raw = _states(5, 7, 3)
    sigma = raw[:, :columns].exp()
    constant = -7 * math.log(2 * math.pi) / 2
    expected = Normal(mean, sigma.expand(5, 7)).log_prob(recorded).sum(-1)
    assert torch.allclose(gaussian(recorded, mean, sigma) + constant, expected, rtol=1e-12, atol=1e-12)


def test_a_constant_tensor_differs_from_a_number_by_a_constant() -> None:
    recorded, mean = _states(4, 6, 2)
    gap = gaussian(recorded, mean, 0.5) - gaussian(recorded, mean, torch.full((4, 1), 0.5, dtype=DOUBLE))
    assert gap.tolist() == pytest.approx([6 * math.log(0.5)] * 4)


def test_the_gradients_of_mean_and_sigma() -> None:
    recorded, mean, raw = _states(3, 4, 3)
    inputs = (mean.requires_grad_(), raw.exp().detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda m, s: gaussian(recorded, m, s), inputs)


def test_a_noiseless_latent_pulls_nowhere_at_the_old_weights() -> None:
    mean = torch.randn(3, 4, requires_grad=True)
    gaussian(mean.detach().clone(), mean, 10.0).sum().backward()
    assert mean.grad is not None
    assert torch.equal(mean.grad, torch.zeros(3, 4))


@pytest.mark.parametrize("own", ["number", "tensor"])
def test_gaussians_of_one_width(own: str) -> None:
    mean, other = _states(5, 7, 2)
    sigma = torch.full((5, 7), 0.3, dtype=DOUBLE)
    expected = kl_divergence(Normal(mean, sigma), Normal(other, sigma)).sum(-1)
    found = gaussian_kl(mean, other, 0.3 if own == "number" else sigma)
    assert torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("own", ["number", "tensor"])
def test_gaussians_of_two_widths(own: str) -> None:
    mean, other, raw, raw_other = _states(5, 7, 4)
    sigma, other_sigma = (
        (torch.tensor(0.3, dtype=DOUBLE) if own == "number" else raw.exp()),
        raw_other[:, :1].exp(),
    )
    expected = kl_divergence(Normal(mean, sigma.expand(5, 7)), Normal(other, other_sigma.expand(5, 7))).sum(
        -1
    )
    found = gaussian_kl(mean, other, 0.3 if own == "number" else sigma, other_sigma)
    assert torch.allclose(found, expected, rtol=1e-12)


def _with_scipy(d: int, kappa: float) -> float:
    special = pytest.importorskip("scipy.special")
    below = special.ive(d / 2 - 1, kappa)
    return float(special.ive(d / 2, kappa) / below) if below > 1e-250 else _with_mpmath(d, kappa)


def _with_mpmath(d: int, kappa: float) -> float:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        return float(mpmath.besseli(mpmath.mpf(d) / 2, kappa) / mpmath.besseli(mpmath.mpf(d) / 2 - 1, kappa))


@pytest.mark.parametrize("d", [2, 3, 4, 5, 64, 1000, 2048, 4096])
@pytest.mark.parametrize("kappa", [0.01, 0.5, 1.0, 10.0, 100.0, 1234.5, 1e4])
def test_the_bessel_ratio(d: int, kappa: float) -> None:
    assert bessel_ratio(d, kappa) == pytest.approx(_with_scipy(d, kappa), rel=1e-12)


@pytest.mark.parametrize("kappa", [0.5, 3.0, 100.0, 1e4, 1e6])
def test_three_dimensions_have_a_closed_form(kappa: float) -> None:
    assert bessel_ratio(3, kappa) == pytest.approx(1 / math.tanh(kappa) - 1 / kappa, rel=1e-12)


@pytest.mark.parametrize(
    ("d", "kappa"), [(1, 1.0), (3, 0.0), (3, -1.0), (3, float("inf")), (3, float("nan"))]
)
def test_no_ratio_of_these(d: int, kappa: float) -> None:
    with pytest.raises(UserError, match=r"dimensions|above 0"):
        bessel_ratio(d, kappa)


def test_directions_count_and_norms_do_not() -> None:
    recorded, mean = _states(4, 6, 2)
    unit = [x / x.norm(dim=-1, keepdim=True) for x in (recorded, mean)]
    assert torch.allclose(vmf(recorded, mean, 50.0), 50 * (unit[0] * unit[1]).sum(-1), rtol=1e-12)
    assert torch.allclose(vmf(3 * recorded, 0.1 * mean, 50.0), vmf(recorded, mean, 50.0), rtol=1e-12)


def test_the_ratio_of_two_policies() -> None:
    # HyLaR's ratio: exp(kappa (mu_theta - mu_old) . z), all of length 1.
    recorded, new, old = (x / x.norm(dim=-1, keepdim=True) for x in _states(4, 6, 3))
    found = (vmf(recorded, new, 5.0) - vmf(recorded, old, 5.0)).exp()
    assert torch.allclose(found, (5 * ((new - old) * recorded).sum(-1)).exp(), rtol=1e-12)


def test_the_divergence_of_directions_against_sampling() -> None:
    kappa, count = 4.0, 400_000
    random = torch.Generator().manual_seed(0)
    uniform, angle = torch.rand(2, count, generator=random, dtype=DOUBLE)
    # On the sphere in 3 dimensions the height over the mean direction has an invertible distribution.
    height = 1 + (uniform + (1 - uniform) * math.exp(-2 * kappa)).log() / kappa
    side = (1 - height**2).sqrt()
    turn = 2 * math.pi * angle
    points = torch.stack([side * turn.cos(), side * turn.sin(), height], dim=-1)
    mean = torch.tensor([[0.0, 0.0, 2.0]], dtype=DOUBLE)
    other = torch.tensor([[0.0, 3.0, 1.0]], dtype=DOUBLE)
    gaps = vmf(points, mean.expand(count, 3), kappa) - vmf(points, other.expand(count, 3), kappa)
    error = gaps.std().item() / math.sqrt(count)
    assert vmf_kl(mean, other, kappa).item() == pytest.approx(gaps.mean().item(), abs=4 * error)
    assert error < 0.01


def test_no_divergence_from_itself() -> None:
    states = _states(3, 8, 1)[0]
    assert torch.equal(gaussian_kl(states, states, 10.0), torch.zeros(3, dtype=DOUBLE))
    assert vmf_kl(states, 2 * states, 100.0).abs().max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    mean = torch.full((1, 256), 1.0, dtype=dtype)
    recorded = mean + torch.finfo(dtype).eps
    step = torch.finfo(dtype).eps
    found = gaussian(recorded, mean, 1.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(-256 * step**2 / 2, rel=1e-6)
    assert vmf(recorded, mean, 1.0).dtype == torch.float32


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_is_positive(width: float) -> None:
    states = torch.ones(1, 2)
    with pytest.raises(UserError, match=r"rl\.latent_sigma"):
        gaussian(states, states, width)
    with pytest.raises(UserError, match=r"rl\.latent_sigma"):
        gaussian_kl(states, states, width, torch.ones(1, 1))
    with pytest.raises(UserError, match=r"rl\.latent_kappa"):
        vmf(states, states, width)
