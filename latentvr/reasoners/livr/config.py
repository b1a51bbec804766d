"""Options of LIVR (arXiv 2512.21218)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentvr.config.schema import ReasonerConfig, StageConfig


@dataclass
class Config(ReasonerConfig):
    """Learned latent tokens after the prompt, trained first under a visual bottleneck."""

    name: str = "livr"
    """Method name."""
    latents: int = 16
    """Number K of latent tokens; 0 leaves them out (the mask-only control)."""
    shared: bool = False
    """Use one embedding row for all K latents (ablation); the paper's default is a row each."""
    place: Literal["after", "before"] = "after"
    """Latents after the prompt, or between the images and the prompt (ablation)."""
    init_std: float = 0.02
    """Standard deviation of the rows at the start. The paper says "randomly initialised" alone."""
    image_twice: bool = False
    """Control: a second copy of the images takes the place of the latents, and their role."""

    @property
    def has_latents(self) -> bool:
        """Whether anything stands in the latents' place."""
        return self.latents > 0 or self.image_twice

    def problems(self) -> list[str]:
        """Return what is wrong with the numbers, each as `field: sentence`."""
        found = []
        if self.latents < 0:
            found.append(
                f"latents: expected at least 0, got {self.latents}; fix: write a number in this range"
            )
        if not 0 <= self.init_std < float("inf"):
            found.append(
                f"init_std: expected at least 0, got {self.init_std}; fix: write a number in this range"
            )
        return found


def default_stages() -> dict[str, StageConfig]:
    """The paper's single-task schedule: 4 epochs under the bottleneck, then 6 plain (appendix B)."""
    return {
        "bottleneck": StageConfig(epochs=4, visibility="bottleneck"),
        "causal": StageConfig(epochs=6, visibility="causal"),
    }
