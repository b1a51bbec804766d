"""Settings of the pretraining that makes the shipped tiny backbone.

The text under a field is its documentation. The defaults are those of the shipped weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentvr.config.document import read_document
from latentvr.errors import RecipeError


@dataclass
class VisionPhase:
    """Dense supervision of vision tower and projector: every visual token says what its cell holds."""

    steps: int = 600
    """Optimiser steps."""
    batch_size: int = 48
    """Digit scenes per step, drawn on the fly, never the same twice."""
    plain_images: int = 24
    """Images of the plain tasks per step, from a pool; they are only reconstructed."""
    plain_tasks: list[str] = field(default_factory=lambda: ["jigsaw", "localization"])
    """Toy tasks whose training images are the pool."""
    plain_pool: int = 1000
    """Examples of each plain task in the pool."""
    learning_rate: float = 2e-3
    """Peak learning rate; cosine to zero."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    warmup: float = 0.05
    """Share of the steps with a linearly rising learning rate."""
    pixel_weight: float = 0.5
    """Weight of the mean squared error of the reconstructed pixels, beside four cross-entropies."""


@dataclass
class LanguagePhase:
    """Training of the language model on answers, over features of the finished vision tower."""

    samples: int = 2000
    """Training samples of each naming task."""
    task_samples: int = 300
    """Training samples of each of the main toy tasks: enough to show their formats. Most stay near chance;
    of `similarity` two thirds come out right."""
    pairs: int = 6000
    """Scenes with lists of pairs: many look-ups in one sample."""
    word_scale: float = 3.0
    """Factor on all embedding rows at the start; small ones drown in what the layers add to them."""
    cycles: int = 2
    """Learning-rate cycles, each with a fresh optimiser and order."""
    epochs: int = 3
    """Passes over the samples in each cycle."""
    batch_size: int = 32
    """Samples per step."""
    learning_rate: float = 1e-3
    """Peak learning rate; cosine to zero."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    warmup: float = 0.05
    """Share of the steps with a linearly rising learning rate."""


@dataclass
class PretrainConfig:
    """How a tiny backbone is pretrained."""

    family: str = "tiny-qwen2.5-vl"
    """Tiny family that is trained."""
    seed: int = 7
    """Seed of weights, scenes and order."""
    threads: int = 1
    """CPU threads of torch; one is as fast as two at this size."""
    validation: int = 200
    """Validation scenes, and validation samples per task, behind the figures in `pretraining.json`."""
    vision: VisionPhase = field(default_factory=VisionPhase)
    """First phase."""
    language: LanguagePhase = field(default_factory=LanguagePhase)
    """Second phase."""


def load_pretraining(path: str | Path | None = None, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Read the settings of a pretraining run.

    Args:
        path: YAML file; None takes the settings of the shipped weights.
        overrides: `key=value` texts that beat the file.

    Returns:
        All settings, typed; what neither file nor overrides name has its default.

    Raises:
        RecipeError: the file cannot be read, or a key or value is wrong.
    """
    config = OmegaConf.structured(PretrainConfig)
    where = "command line" if path is None else str(path)
    try:
        if path is not None:
            config = OmegaConf.merge(config, OmegaConf.create(read_document(path).text))
        settings = OmegaConf.to_object(OmegaConf.merge(config, OmegaConf.from_dotlist(list(overrides))))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(
            f"expected settings of the pretraining, got: {reason}, at {where}, key {error.full_key}; "
            "fix: correct this key"
        ) from error
    return cast(PretrainConfig, settings)
