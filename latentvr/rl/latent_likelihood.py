"""How likely a latent that was fed is under the state that predicts it, and how far two such densities are.

All latents have rows of their own: R latents of width D, row-major over completions.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from latentvr.errors import UserError


def gaussian(recorded_RD: Tensor, mean_RD: Tensor, sigma: float | Tensor) -> Tensor:
    """Give log N(z; mean, sigma^2) up to a constant: -||z - mean||^2 / (2 sigma^2) [- sum log sigma].

    With a fixed sigma it is the latent term of VLPO (arXiv 2511.21395), with the model's own sigma that of
    learned noise (arXiv 2608.19669). Without noise in the rollouts its gradient is 0 at the old weights: it
    then only holds the latents where they were.

    Args:
        recorded_RD: latents that were fed, shape (R, D).
        mean_RD: states that predict them, shape (R, D); gradient.
        sigma: standard deviation; a number is a constant, whose logarithm is left out; a tensor of shape
            (R, D) or (R, 1) has a gradient, and its logarithm counts once for each of the D components.

    Returns:
        Log-densities, shape (R,), nats, at least float32.

    Raises:
        UserError: a fixed sigma is not positive.
    """
    gap_RD = _wide(recorded_RD) - _wide(mean_RD)
    if isinstance(sigma, Tensor):
        sigma_RD = _wide(sigma).expand_as(gap_RD)
        return -((gap_RD / sigma_RD) ** 2).sum(-1) / 2 - sigma_RD.log().sum(-1)
    return -(gap_RD**2).sum(-1) / (2 * _positive(sigma, "latent_sigma") ** 2)


def gaussian_kl(
    mean_RD: Tensor, other_RD: Tensor, sigma: float | Tensor, other_sigma: Tensor | None = None
) -> Tensor:
    """Give KL(N(mean, sigma^2) || N(other, other_sigma^2)), in closed form.

    Args:
        mean_RD: means of the first, shape (R, D).
        other_RD: means of the second, shape (R, D).
        sigma: standard deviation of the first; a tensor has shape (R, D) or (R, 1).
        other_sigma: that of the second, shape (R, D) or (R, 1); None where both have `sigma`.

    Returns:
        The divergences, shape (R,), nats, at least float32.

    Raises:
        UserError: a fixed sigma is not positive.
    """
    if not isinstance(sigma, Tensor) and other_sigma is None:
        return -gaussian(mean_RD, other_RD, sigma)
    gap_RD = _wide(mean_RD) - _wide(other_RD)
    first = sigma if isinstance(sigma, Tensor) else gap_RD.new_tensor(_positive(sigma, "latent_sigma"))
    first_RD = _wide(first).expand_as(gap_RD)
    second_RD = first_RD if other_sigma is None else _wide(other_sigma).expand_as(gap_RD)
    ratio_RD = first_RD / second_RD
    return ((ratio_RD**2 + (gap_RD / second_RD) ** 2 - 1) / 2 - ratio_RD.log()).sum(-1)


def vmf(recorded_RD: Tensor, mean_RD: Tensor, kappa: float) -> Tensor:
    """Give the von Mises-Fisher log-density of the latents' directions, kappa cos(z, mean), up to a constant.

    HyLaR, arXiv 2604.20328: the constant depends on kappa and D alone, so ratios need none.

    Args:
        recorded_RD: latents that were fed, shape (R, D); their norms do not matter.
        mean_RD: states that predict them, shape (R, D); gradient, none of it along the state itself.
        kappa: concentration.

    Returns:
        Log-densities, shape (R,), nats, at least float32.

    Raises:
        UserError: kappa is not positive.
    """
    return _positive(kappa, "latent_kappa") * cosine_similarity(_wide(recorded_RD), _wide(mean_RD), dim=-1)


def vmf_kl(mean_RD: Tensor, other_RD: Tensor, kappa: float) -> Tensor:
    """Give the divergence of two von Mises-Fisher densities, kappa A_D(kappa) (1 - cos(mean, other)).

    HyLaR, arXiv 2604.20328; kappa A_D(kappa) is the mean of kappa cos(z, mean) over the first density.

    Args:
        mean_RD: states of the first, shape (R, D).
        other_RD: states of the second, shape (R, D).
        kappa: concentration of both.

    Returns:
        The divergences, shape (R,), nats, at least float32.

    Raises:
        UserError: kappa is not positive, or D is less than 2.
    """
    # 1 - cos of equal states rounds to 1e-7 and has a gradient; half the squared chord is exactly 0 without.
    chord_RD = normalize(_wide(mean_RD), dim=-1) - normalize(_wide(other_RD), dim=-1)
    return kappa * bessel_ratio(mean_RD.shape[-1], kappa) * (chord_RD**2).sum(-1) / 2


@lru_cache(maxsize=64)
def bessel_ratio(d: int, kappa: float) -> float:
    """Give A_d(kappa) = I_{d/2}(kappa) / I_{d/2-1}(kappa), the mean length of d-dimensional directions.

    The ratios r_v = I_{v+1} / I_v obey r_v = 1 / (2 (v + 1) / kappa + r_{v+1}); this continued fraction is
    worked out from the far end, where a lower bound of r_v (Amos 1974) is close. No Bessel function
    is computed, so none overflows.

    Args:
        d: dimensions, at least 2.
        kappa: concentration.

    Returns:
        The ratio, between 0 and 1.

    Raises:
        UserError: kappa is not positive, or d is less than 2.
    """
    if d < 2:
        raise UserError(
            f"expected at least 2 dimensions, got {d}, at the von Mises-Fisher density; fix: give whole "
            "latents"
        )
    x = _positive(kappa, "latent_kappa")
    # n levels shrink the error of the start by exp(-n^2 / x) where x is large, far more where it is small.
    levels = 20 + 7 * math.isqrt(math.ceil(x))
    order = d / 2 - 1 + levels
    ratio = x / (order + 0.5 + math.sqrt((order + 1.5) ** 2 + x * x))
    for level in range(levels, 0, -1):
        ratio = 1 / (2 * (d / 2 - 1 + level) / x + ratio)
    return ratio


def _wide(values: Tensor) -> Tensor:
    """At least float32: squares of small differences vanish in less."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _positive(value: float, key: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise UserError(
            f"expected a finite number above 0, got {value}, at rl.{key}; fix: give the density a positive "
            "width"
        )
    return value
