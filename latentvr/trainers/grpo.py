"""Reinforcement of any method by GRPO on `transformers.Trainer`: rollouts, rewards, replay, updates.

Log-probabilities of policy, old policy and reference come each from one forward pass that feeds the latents
of the rollout. Formulas are in `latentvr.rl`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler

from latentvr.config.rl_rules import buffer_passes
from latentvr.config.schema import Recipe
from latentvr.decoding.rollout import Rollout
from latentvr.evaluation.evaluate import on_device
from latentvr.models.latent_model import LatentModel
from latentvr.models.scoring import Scores, Scoring
from latentvr.rl.health import Watchman, flags_for
from latentvr.rl.objective import Averaging, Likelihoods, likelihoods, objective
from latentvr.rl.prompts import RoundPrompts
from latentvr.rl.replay import replay_batch
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.round import Round, load_round, save_round, saved_places
from latentvr.trainers import checkpoint
from latentvr.trainers.base import StageTrainer
from latentvr.trainers.completions import completion_rows
from latentvr.trainers.finite import Window
from latentvr.trainers.metrics_file import MetricsFile
from latentvr.trainers.order import EpochOrder
from latentvr.trainers.reference import Reference
from latentvr.trainers.rollouts import RoundMaker
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import StageRun
from latentvr.trainers.step_figures import StepFigures

log = logging.getLogger(__name__)
WATCH = "watch.json"


class _Completions(Dataset[int]):
    """As many items as completions are trained on in a run; what they are is known when they are written."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


class GRPOTrainer(StageTrainer):
    """Trains one stage on rollouts of its own.

    Args:
        model: with the stage's trainable parameters set.
        recipe: all settings.
        run: the stage.
        folder: run folder.
        prompts: encodes the training records.
        rewards: judges completions.
        reference: weights at the start; None where `rl.beta` is 0.
        validate: gives the accuracy on the validation records; None trains without.
        stop: a signal to stop, if one came.

    Raises:
        UserError: the launcher has switched on what the recipe does not ask for, or DeepSpeed cannot do it.
    """

    def __init__(
        self,
        model: LatentModel,
        recipe: Recipe,
        run: StageRun,
        folder: Path,
        prompts: RoundPrompts,
        rewards: Rewards,
        reference: Reference | None,
        validate: Callable[[], float] | None,
        stop: StopRequest,
    ) -> None:
        train = recipe.train
        size = run.steps * train.gradient_accumulation * train.batch_size
        super().__init__(model, recipe, run, folder, _Completions(0), list, validate, stop)
        self.train_dataset = _Completions(size * self.args.world_size)
        self.rl = recipe.rl
        self._reference = reference
        self._maker = RoundMaker(model, recipe, run.stage, prompts, rewards, self.accelerator)
        self._passes, self._updates = buffer_passes(recipe), self._maker.layout.updates
        self._round: Round | None = None
        self._step_figures = StepFigures(model, rewards.names, self.rl.num_generations, self.accelerator)
        self._watchman = Watchman(self.rl.health_steps, flags_for(str(recipe.model.dtype)))
        self._samples = MetricsFile(folder / "completions.jsonl")
        per_epoch = self.updates_per_epoch
        self._begin(EpochOrder(0, train.seed, run.index), per_epoch)

    @property
    def updates_per_epoch(self) -> Fraction:
        """Optimiser steps in one pass over the prompts; a round may hold prompts of two passes."""
        prompts = len(self._maker.prompts.source.records)
        return Fraction(prompts * self._updates, self._maker.layout.prompts)

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    # --- batches

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Give the micro-batches of an optimiser step; at the end of a buffer, fill it again first."""
        del epoch_iterator, device
        step, each = self.state.global_step, self._updates
        if self._round is None or self._round.number != step // each:
            with self._split.whole(), self._split.autocast():
                self._round = self._new_round(step // each)
        first = (step % each) * num_batches % self._passes
        numbers = range(first, first + num_batches)
        micros = [self._micro(self._round, n, self._regenerates) for n in numbers]
        self._window = Window([micro["sample_ids"] for micro in micros], weights={"policy": 1.0})
        self._step_figures.begin_step()
        # With a number, no version of transformers divides the loss by the accumulation once more.
        return micros, self._round.items

    def _new_round(self, number: int) -> Round:
        """Write, judge and score the completions of a round."""
        self._busy.at("the round of rollouts")
        made = self._maker.round(number)
        self._step_figures.count_round(made)
        begin = time.perf_counter()
        counted = torch.tensor(float(self._counted(made)), device=self.accelerator.device)
        made.items = self.accelerator.reduce(counted, "sum")
        if self._updates > 1:
            made.old = [self._scored(made, n, self._regenerates) for n in range(self._passes)]
        if self._reference is not None:
            own = self.rl.reference_latents == "own"
            with self._reference.in_place():
                made.reference = [self._scored(made, n, own) for n in range(self._passes)]
        self._step_figures.seconds = {**self._maker.seconds, "time/replay": time.perf_counter() - begin}
        return made

    def _counted(self, made: Round) -> int:
        """Tokens and latents of a round that count, on this process."""
        latents = self.rl.latent_ratio != "none"
        counted = [rollout for rollout in made.rollouts if self._counts(rollout)]
        fed = sum(len(span) for rollout in counted for span in rollout.spans) if latents else 0
        return sum(map(sum, (rollout.sampled for rollout in counted))) + fed

    def _counts(self, rollout: Rollout) -> bool:
        """Whether a completion gives loss."""
        return not (self.rl.mask_truncated and rollout.finish == "length")

    def _micro(self, made: Round, number: int, regenerate: bool = False) -> dict[str, Any]:
        """Micro-batch of a round; regenerated latents need rows of their own."""
        size = self.recipe.train.batch_size
        part = slice(number * size, (number + 1) * size)
        rollouts = made.rollouts[part]
        share = self.rl.share_prompts and not regenerate
        micro = replay_batch(self.latent_model, made.samples[part], rollouts, share=share)
        micro["counts"] = torch.tensor([self._counts(rollout) for rollout in rollouts])
        micro["advantages"] = made.advantages_B[part]
        sampled = [p for r in rollouts for p, mine in zip(r.log_probs, r.sampled, strict=True) if mine]
        micro["sampled_log_probs"] = torch.tensor(sampled)
        micro["number"] = number
        return micro

    @torch.no_grad()
    def _scored(self, made: Round, number: int, regenerate: bool) -> Likelihoods:
        """Likelihoods of a micro-batch without gradient, in one forward pass."""
        micro = on_device(self._micro(made, number, regenerate), self.latent_model)
        self._busy.at("the replay of rollouts", micro)
        self.latent_model.train()  # as in the update, where activations are recomputed in training mode alone
        asked = self._scoring(regenerate)
        scores: Scores = self.latent_model(batch=micro, stage=self.run.stage, scoring=asked)
        return likelihoods(scores, micro, self.rl)

    @property
    def _regenerates(self) -> bool:
        return self.rl.replay == "regenerated"

    def _scoring(self, regenerate: bool) -> Scoring:
        """What is asked of a forward pass."""
        ratio = self.rl.latent_ratio
        return Scoring(
            self.rl.temperature, self.recipe.decode.suppress, ratio != "none", ratio == "learned", regenerate
        )

    # --- loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Clipped policy loss of a micro-batch, as its share of the optimiser step's."""
        del num_items_in_batch
        assert self._round is not None  # noqa: S101 - the batch came of it
        made, number = self._round, inputs["number"]
        scores: Scores = model(batch=inputs, stage=self.run.stage, scoring=self._scoring(self._regenerates))
        now = likelihoods(scores, inputs, self.rl)
        averaging = Averaging(
            accumulation=self.args.gradient_accumulation_steps,
            items=made.items,
            processes=self.accelerator.num_processes,
            steps_per_generation=self._passes,
            max_length=self.recipe.decode.max_new_tokens,
        )
        old = made.old[number] if made.old else None
        reference = made.reference[number] if made.reference else None
        found = objective(now, old, reference, inputs, self.rl, averaging)
        self._window.terms.append({"policy": found.loss.detach()})
        self._step_figures.add(found.values)
        fresh = self.state.global_step % self._updates == 0
        self._step_figures.count_micro(made, scores, now, inputs, fresh)
        loss = self._split.anchored(found.loss)
        self._busy.at("the backward pass")
        return (loss, scores) if return_outputs else loss

    # --- logs

    def _figures(self) -> dict[str, float]:
        """Loss, rewards and health of the logged optimiser step."""
        assert self._round is not None  # noqa: S101 - a step was made
        loss = float(self.accelerator.reduce(self._window.means()["policy"], "mean"))
        return {"loss": loss, **self._step_figures.of(self._round)}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as every trainer does; look at the health of the run and keep some completions."""
        super().log(logs, start_time)
        if "loss" not in logs or not self.is_world_process_zero():
            return
        row = self.state.log_history[-1]
        for hint in self._watchman.look(row):
            log.warning("step %d: %s", row["step"], hint)
        if self._round is not None and self.rl.log_completions:
            step = self.run.first_step + self.state.global_step
            records = self._maker.prompts.records(self._round.places)
            tokenizer = self.latent_model.processor.tokenizer
            names, many = self._maker.rewards.names, self.rl.log_completions
            group = self.rl.num_generations
            for entry in completion_rows(self._round, records, names, tokenizer, many, step, group):
                self._samples.append(entry)

    @property
    def _epoch(self) -> float:
        return float(self.state.global_step / self.updates_per_epoch)

    # --- checkpoints

    def _fill(self, aside: Path) -> None:
        super()._fill(aside)
        (aside / WATCH).write_text(json.dumps(self._watchman.state()) + "\n", encoding="utf-8")

    def _logs(self) -> list[Path]:
        return [*super()._logs(), self._samples.path]

    def _fill_rank(self, aside: Path) -> None:
        super()._fill_rank(aside)
        inside = self.state.global_step % self._updates
        if inside and self._round is not None:
            save_round(self._round, aside, self.args.process_index)

    def resume_from(self, folder: Path) -> None:
        """Take up what a checkpoint holds beside weights and optimiser: an unfinished buffer and the watch.

        Args:
            folder: a verified checkpoint inside the stage.

        Raises:
            CheckpointError: a file of it is damaged.
        """
        try:
            self._watchman.load(json.loads((folder / WATCH).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise checkpoint.unreadable(folder / WATCH) from error
        rank = self.args.process_index
        places = saved_places(folder, rank)
        if places is not None:
            samples = self._maker.prompts.samples(places)
            self._round = load_round(folder, rank, samples, self.latent_model.backbone.device)
            self._step_figures.count_round(self._round)
