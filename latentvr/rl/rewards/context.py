"""What a reward may look at beside the texts: the model, the records and the rollouts of a round."""

from __future__ import annotations

from dataclasses import dataclass

from latentvr.config.rl_section import RLConfig
from latentvr.config.schema import DecodeConfig
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Record, Source
from latentvr.decoding.rollout import Rollout
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Stage


@dataclass(frozen=True)
class RewardContext:
    """What the rewards of one round of rollouts may look at.

    Every list has one entry per completion, groups side by side.

    Attributes:
        model: in evaluation mode; callers run without gradients.
        records: what was asked.
        samples: prompts without answers.
        rollouts: what was written.
        source: gives the records' images.
        stage: visibility of the rollouts.
        decode: settings of the rollouts.
        rl: the recipe's section `rl`.
    """

    model: LatentModel
    records: list[Record]
    samples: list[EncodedSample]
    rollouts: list[Rollout]
    source: Source
    stage: Stage
    decode: DecodeConfig
    rl: RLConfig
