"""Maps from hidden states to latents (arXiv 2509.24251, section 4.3; PCA: arXiv 2605.12374).

Each takes and gives (..., D) in the number format of its input.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from latentvr.errors import ModelError


class MLPHead(nn.Module):
    """LayerNorm, then two linear layers with a GELU between them, all of width D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states to latents."""
        inner = functional.gelu(self.first(self.norm(hidden.to(self.first.weight.dtype))))
        out: Tensor = self.second(inner)
        return out.to(hidden.dtype)


class GLUHead(nn.Module):
    """A SiLU-gated layer of inner width `inner`, with biases."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states to latents."""
        states = hidden.to(self.gate.weight.dtype)
        out: Tensor = self.down(functional.silu(self.gate(states)) * self.up(states))
        return out.to(hidden.dtype)


class PCAHead(nn.Module):
    """Coordinates in a PCA basis: P F(h) + mu, with F linear and basis P (D, k) and mean mu (D) fixed.

    Latents so made lie where visual embeddings lie, in direction and norm.
    """

    basis: Tensor
    mean: Tensor

    def __init__(self, width: int, components: int) -> None:
        super().__init__()
        self.register_buffer("basis", torch.zeros(width, components))
        self.register_buffer("mean", torch.zeros(width))
        self.coordinates = nn.Linear(width, components)

    def read(self, file: str) -> None:
        """Take basis and mean from a file of `latentvr data basis`.

        Args:
            file: safetensors with `basis` (D, k) and `mean` (D).

        Raises:
            ModelError: the file is missing, damaged, or of other sizes.
        """
        fix = "fix: make it with latentvr data basis from this model and data"
        try:
            tensors = load_file(Path(file))
            basis, mean = tensors["basis"], tensors["mean"]
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(
                f"expected a PCA basis at reasoner.pca_basis, got {file!r} ({type(error).__name__}); {fix}"
            ) from error
        if basis.shape != self.basis.shape or mean.shape != self.mean.shape:
            raise ModelError(
                f"expected a PCA basis of width {self.basis.shape[0]} with {self.basis.shape[1]} components "
                f"as in reasoner.pca_components, got shapes {tuple(basis.shape)} and {tuple(mean.shape)}, "
                f"at {file!r}; {fix}"
            )
        self.basis.copy_(basis)
        self.mean.copy_(mean)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states to latents."""
        inner: Tensor = self.coordinates(hidden.float())
        return (inner @ self.basis.T + self.mean).to(hidden.dtype)


class ResidualNoise(nn.Module):
    """A Gaussian around what a head gives, both of its parameters linear in the hidden state.

    The shift of the mean begins at 0 and the standard deviation at `first` (arXiv 2608.19669).
    """

    def __init__(self, width: int, first: float) -> None:
        super().__init__()
        self.shift = nn.Linear(width, width)
        self.log_deviation = nn.Linear(width, width)
        for layer, bias in ((self.shift, 0.0), (self.log_deviation, math.log(first))):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Shift of the mean."""
        out: Tensor = self.shift(hidden.to(self.shift.weight.dtype))
        return out.to(hidden.dtype)

    def deviations(self, hidden: Tensor) -> Tensor:
        """Standard deviations, in float32."""
        out: Tensor = self.log_deviation(hidden.to(self.log_deviation.weight.dtype))
        return out.float().exp()


class EndVector(nn.Module):
    """The vector (D) that stands for the end of the slots; at first a random direction of length sqrt(D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(functional.normalize(torch.randn(width), dim=0) * math.sqrt(width))
