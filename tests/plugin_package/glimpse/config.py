"""Options of the example method: one latent that looks at the mean of the image."""

from dataclasses import dataclass

from latentvr.config.schema import ReasonerConfig, StageConfig


@dataclass
class Config(ReasonerConfig):
    """One latent between two markers, fed with the mean visual feature and pulled towards it."""

    name: str = "glimpse"
    """Method name."""
    weight: float = 0.1
    """Weight of the distance between the hidden state before the latent and the mean visual feature."""


def default_stages() -> dict[str, StageConfig]:
    """One plain stage."""
    return {"look": StageConfig(epochs=1)}
