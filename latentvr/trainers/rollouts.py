"""Rounds of rollouts: prompts, completions, rewards and advantages, on each process its own.

Shape letters: B completions of this process, F reward functions, D width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
from accelerate import Accelerator
from torch import Tensor

from latentvr.config.memory_keys import for_rollouts
from latentvr.config.schema import DecodeConfig, Recipe
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample
from latentvr.decoding.loop import generate
from latentvr.decoding.rollout import Rollout
from latentvr.evaluation.evaluate import on_device
from latentvr.models.latent_model import LatentModel
from latentvr.models.out_of_memory import enough_memory, work_on_samples
from latentvr.reasoners.base import Stage
from latentvr.rl.advantages import advantages, combined, spread
from latentvr.rl.prompts import PromptOrder, RoundPrompts
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.round import Round
from latentvr.rl.rounds import rounds


def rollout_decode(recipe: Recipe) -> DecodeConfig:
    """Settings of rollouts: those of `decode`, with the sampling of `rl` and a cache of full length."""
    rl = recipe.rl
    return replace(
        recipe.decode,
        do_sample=True,
        temperature=rl.temperature,
        top_k=rl.top_k,
        top_p=rl.top_p,
        min_p=rl.min_p,
        cache="static",
    )


@dataclass
class RoundMaker:
    """Makes rounds.

    Attributes:
        model: writes the completions, under the weights that it has at the time.
        recipe: all settings.
        stage: visibility of rollouts and replay.
        prompts: encodes them.
        rewards: judges what was written.
        accelerator: says which process this is, and puts rewards together.
        seconds: time that the last round took, by phase.
        layout: sizes of the run's rounds.
        groups: prompts of a round on this process.
    """

    model: LatentModel
    recipe: Recipe
    stage: Stage
    prompts: RoundPrompts
    rewards: Rewards
    accelerator: Accelerator
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Prepare the order of prompts."""
        size, ranks = len(self.prompts.source.records), self.accelerator.num_processes
        self.layout = rounds(self.recipe, size, ranks)
        self.groups = self.layout.completions // self.recipe.rl.num_generations
        self._order = PromptOrder(size, self.recipe.train.seed)
        self._decode = rollout_decode(self.recipe)

    def round(self, number: int) -> Round:
        """Make a round.

        Args:
            number: of the round, from 0; it says which prompts come and how tokens are drawn.

        Returns:
            The round, without likelihoods.
        """
        self.model.eval()
        first = (number * self.accelerator.num_processes + self.accelerator.process_index) * self.groups
        group = self.recipe.rl.num_generations
        places = [self._order[first + i] for i in range(self.groups)]
        samples = self.prompts.samples(places)
        begin = time.perf_counter()
        with torch.no_grad(), self.accelerator.autocast():
            rollouts = self._write(samples, first)
            written = time.perf_counter()
            each = [place for place in places for _ in range(group)]
            per_completion = [sample for sample in samples for _ in range(group)]
            rewards_BF = self.rewards(self._context(each, per_completion, rollouts))
        judged = time.perf_counter()
        self.seconds = {"time/rollout": written - begin, "time/reward": judged - written}
        names = [record.id for record in self.prompts.records(each)]
        combined_B = combined(rewards_BF, self.rewards.weights_F, names)
        gained_B = advantages(combined_B, group, self.recipe.rl.scale_rewards, self._spread(combined_B))
        return Round(
            number, each, per_completion, rollouts, rewards_BF, combined_B, gained_B, torch.tensor(0.0)
        )

    def _spread(self, combined_B: Tensor) -> Tensor | None:
        """Standard deviation of the rewards of all processes, where it is asked for."""
        if self.recipe.rl.scale_rewards != "batch":
            return None
        gathered: Tensor = self.accelerator.gather(combined_B.to(self.accelerator.device))
        return spread(gathered.cpu())

    def _write(self, samples: Sequence[EncodedSample], first: int) -> list[Rollout]:
        """Write the completions of all prompts, some groups at a time.

        A chunk of groups draws with a generator of its own, so that which process writes it makes no odds.
        """
        rl, out = self.recipe.rl, []
        at_once = (rl.rollout_batch_size or self.layout.completions) // rl.num_generations
        pad_id = self.model.processor.tokenizer.pad_token_id
        device = self.model.backbone.device
        for start in range(0, len(samples), at_once):
            part = samples[start : start + at_once]
            seed = (self.recipe.train.seed * 1_000_003 + first + start) % 2**63
            generator = torch.Generator(device).manual_seed(seed)
            with self._watched(part):
                out += generate(
                    self.model,
                    on_device(collate(part, pad_id, "left"), self.model),
                    self.stage,
                    self._decode,
                    rollouts=rl.num_generations,
                    generator=generator,
                    perturb=self._noise(generator),
                )
        return out

    def _watched(self, samples: Sequence[EncodedSample]) -> AbstractContextManager[None]:
        """Where a lack of memory is told in terms of rollouts."""
        patch, each = self.model.processor.image_processor.patch_size, self.recipe.rl.num_generations
        return enough_memory(
            lambda: work_on_samples("rollouts", samples, patch, each),
            lambda pixels: for_rollouts(self.recipe, pixels),
        )

    def _noise(self, generator: torch.Generator) -> Callable[[Tensor, Tensor], Tensor] | None:
        """Noise on the latents that are fed: of a fixed deviation, or as the method has learned it."""
        fixed, learned = self.recipe.rl.rollout_noise_std, self.recipe.reasoner.learns_noise
        if not fixed and not learned:
            return None

        def perturbed(latents_BD: Tensor, hidden_BD: Tensor) -> Tensor:
            scale = self.model.reasoner.latent_deviations(hidden_BD) if learned else None
            noise = torch.randn(latents_BD.shape, generator=generator, device=latents_BD.device)
            return latents_BD + noise * (fixed if scale is None else scale)

        return perturbed

    def _context(
        self, places: list[int], samples: list[EncodedSample], rollouts: list[Rollout]
    ) -> RewardContext:
        return RewardContext(
            model=self.model,
            records=self.prompts.records(places),
            samples=samples,
            rollouts=rollouts,
            source=self.prompts.source,
            stage=self.stage,
            decode=self._decode,
            rl=self.recipe.rl,
        )
