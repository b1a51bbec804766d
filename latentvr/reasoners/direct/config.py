"""Options of Direct SFT: none."""

from __future__ import annotations

from dataclasses import dataclass

from latentvr.config.schema import ReasonerConfig, StageConfig


@dataclass
class Config(ReasonerConfig):
    """Plain supervised fine-tuning on the answer, without latents."""

    name: str = "direct"
    """Method name."""


def default_stages() -> dict[str, StageConfig]:
    """The paper's Direct SFT: 10 plain epochs (arXiv 2512.21218, appendix B)."""
    return {"causal": StageConfig(epochs=10, visibility="causal")}
