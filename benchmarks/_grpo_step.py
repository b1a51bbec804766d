"""An optimiser step of the GRPO trainer with its phases on the clock."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _small import STAGE
from PIL import Image
from torch import Tensor
from transformers import TrainerCallback

from latentvr.config.schema import (
    DecodeConfig,
    ModelConfig,
    OptimConfig,
    Recipe,
    RLConfig,
    Trainable,
    TrainConfig,
)
from latentvr.data.encode import EncodedSample
from latentvr.data.record import Record
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.latent_model import LatentModel
from latentvr.models.trainable import set_trainable
from latentvr.reasoners.registry import config_class
from latentvr.rl.prompts import RoundPrompts
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.rewards.registry import resolve
from latentvr.trainers.grpo import GRPOTrainer
from latentvr.trainers.reference import Reference
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import StageRun

GROUP, LATENTS, TEMPERATURE, TOP_K = 8, 8, 0.9, 50
PHASES = ("rollout", "reward", "reference", "update")


@dataclass
class _Source:
    """Records of prompts that are encoded already."""

    records: Sequence[Record]

    def images(self, record: Record) -> list[Image.Image]:
        """None: nobody asks."""
        del record
        return []

    def where(self, record: Record) -> str:
        """Its id."""
        return record.id


class _Prompts(RoundPrompts):
    """Prompts that are encoded already, for the trainer."""

    def __init__(self, model: LatentModel, made: Sequence[EncodedSample]) -> None:
        self._made = made
        records = [Record(one.id, "none", "train", (), "", "a cat") for one in made]
        longest = max(len(one.ids) for one in made)
        super().__init__(model, _Source(records), encoder_for(model, longest), keep=True)

    def samples(self, places: Sequence[int]) -> list[EncodedSample]:
        return [self._made[place] for place in places]


class Marks:
    """Moments on the clock: of the processor, or of the wall once the GPU has finished."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.at: list[float] = []

    def add(self) -> None:
        """Note this moment."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.at.append(time.process_time() if self.device == "cpu" else time.perf_counter())


class _Rewards(Rewards):
    """Rewards that note when they begin and end."""

    def __init__(self, rl: RLConfig, marks: Marks) -> None:
        super().__init__(resolve(rl))
        self._marks = marks

    def __call__(self, context: RewardContext) -> Tensor:
        assert all(row.finish == "length" for row in context.rollouts)
        self._marks.add()
        made = super().__call__(context)
        self._marks.add()
        return made


class _StepEnd(TrainerCallback):
    """Notes when an optimiser step is done."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._marks.add()


class _Trainer(GRPOTrainer):
    """Notes when rollouts begin and the update begins, and keeps nothing."""

    marks: Marks

    def get_batch_samples(self, *given: Any, **settings: Any) -> tuple[list[Any], Any]:
        self.marks.add()
        made = super().get_batch_samples(*given, **settings)
        self.marks.add()
        return made

    def _save_checkpoint(self, *_: Any, **__: Any) -> None:
        pass


def step_recipe(
    groups: int, new: int, steps: int, folder: str, trainable: Trainable, dtype: torch.dtype, device: str
) -> Recipe:
    """A forward pass for each group; the paper's rate and divergence."""
    return Recipe(
        reasoner=config_class("lvr")(name="lvr"),
        model=ModelConfig(path="benchmark", dtype=str(dtype).removeprefix("torch.")),  # type: ignore[arg-type]
        optim=OptimConfig(trainable=trainable, learning_rate=5e-6),
        train=TrainConfig(
            output_dir=folder,
            batch_size=GROUP,
            gradient_accumulation=groups,
            device=device,  # type: ignore[arg-type]
        ),
        rl=RLConfig(steps=steps, num_generations=GROUP, temperature=TEMPERATURE, top_k=TOP_K),
        decode=DecodeConfig(max_new_tokens=new, latent_steps=LATENTS),
    )


def timed_steps(
    model: LatentModel,
    made: Sequence[EncodedSample],
    new: int,
    steps: int,
    trainable: Trainable,
    dtype: torch.dtype = torch.float32,
) -> dict[str, float]:
    """Seconds of the phases of an optimiser step, a group of answers to each prompt; one more warms up.

    Args:
        model: changed: it trains.
        made: encoded prompts.
        new: ids in an answer.
        steps: steps that count.
        trainable: what trains.
        dtype: bfloat16 trains under autocast.

    Returns:
        Medians of `PHASES` and of the whole step.
    """
    device = model.backbone.device.type
    marks = Marks(device)
    with tempfile.TemporaryDirectory() as folder:
        recipe = step_recipe(len(made), new, steps + 1, folder, trainable, dtype, device)
        set_trainable(model, recipe.optim.trainable, recipe.model.lora)
        run = StageRun(STAGE, 0, 0, steps + 1, recipe.optim.learning_rate, True)
        given, rewards = _Prompts(model, made), _Rewards(recipe.rl, marks)
        reference, stop = Reference(model, new_adapters=trainable == "lora"), StopRequest()
        trainer = _Trainer(model, recipe, run, Path(folder), given, rewards, reference, None, stop)
        trainer.marks = marks
        trainer.add_callback(_StepEnd(marks))
        trainer.train()
    size = len(PHASES) + 1
    assert len(marks.at) == size * (steps + 1)
    each = [marks.at[first : first + size] for first in range(size, len(marks.at), size)]
    found = {name: statistics.median(m[i + 1] - m[i] for m in each) for i, name in enumerate(PHASES)}
    return {**found, "step": statistics.median(m[-1] - m[0] for m in each)}
