"""Reinforcement of any method by GRPO on `transformers.Trainer`: rollouts, rewards, replay, updates.

Log-probabilities of policy, old policy and reference come each from one forward pass that feeds the latents
of the rollout. Formulas are in `latentvr.rl`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler

from latentvr.config.rl_rules import buffer_passes
from latentvr.config.schema import Recipe
from latentvr.evaluation.evaluate import on_device
from latentvr.models.latent_model import LatentModel
from latentvr.models.scoring import Scores, Scoring
from latentvr.rl.health import Watchman, flags_for
from latentvr.rl.objective import Averaging, Likelihoods, actions, drift, likelihoods, objective
from latentvr.rl.prompts import RoundPrompts
from latentvr.rl.replay import replay_batch
from latentvr.rl.rewards.call import Rewards
from latentvr.rl.round import Round, load_round, save_round, saved_places
from latentvr.rl.round_figures import Tally, round_tally
from latentvr.trainers.base import StageTrainer
from latentvr.trainers.completions import completion_rows
from latentvr.trainers.finite import Window
from latentvr.trainers.metrics_file import MetricsFile
from latentvr.trainers.order import EpochOrder
from latentvr.trainers.reference import Reference
from latentvr.trainers.rollouts import RoundMaker
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import StageRun

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
        UserError: the launcher would split the weights over processes.
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
        self._tally = Tally()
        self._round_tally = Tally()
        self._seconds: dict[str, float] = {}
        self._spans = model.reasoner.span()
        self._watchman = Watchman(self.rl.health_steps, flags_for(str(recipe.model.dtype)))
        self._samples = MetricsFile(folder / "completions.jsonl")
        per_epoch = self.updates_per_epoch
        self._begin(EpochOrder(0, train.seed, run.index), per_epoch)

    @property
    def updates_per_epoch(self) -> int:
        """Optimiser steps in one pass over the prompts, the last round whole."""
        prompts = len(self._maker.prompts.source.records)
        return -(-prompts // self._maker.layout.prompts) * self._updates

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
            self._round = self._new_round(step // each)
        first = (step % each) * num_batches % self._passes
        numbers = range(first, first + num_batches)
        micros = [self._micro(self._round, n, self._regenerates) for n in numbers]
        self._window = Window([micro["sample_ids"] for micro in micros], weights={"policy": 1.0})
        self._tally = Tally()
        self._update_began = time.perf_counter()
        return micros, None

    def _new_round(self, number: int) -> Round:
        """Write, judge and score the completions of a round."""
        made = self._maker.round(number)
        self._count(made)
        begin = time.perf_counter()
        passes = range(self._passes)
        micros = [self._micro(made, n, self._regenerates) for n in passes]
        counted = sum(actions(micro, self.rl).sum() for micro in micros)
        made.items = self.accelerator.reduce(torch.as_tensor(counted).float(), "sum")
        if self._updates > 1:
            made.old = [self._scored(micro, self._regenerates) for micro in micros]
        if self._reference is not None:
            own = self.rl.reference_latents == "own"
            with self._reference.in_place():
                made.reference = [self._scored(self._micro(made, n, own), own) for n in passes]
        self._seconds = {**self._maker.seconds, "time/replay": time.perf_counter() - begin}
        return made

    def _count(self, made: Round) -> None:
        """Count the figures of a round over all processes."""
        closing = None if self._spans is None else self.latent_model.token_ids[self._spans.end[-1]]
        names, group = self._maker.rewards.names, self.rl.num_generations
        spans = self._spans is not None
        tally = round_tally(made.rollouts, made.rewards_BF, names, made.combined_B, group, spans, closing)
        self._round_tally = self._merged(tally)

    def _micro(self, made: Round, number: int, regenerate: bool = False) -> dict[str, Any]:
        """Micro-batch of a round, on the model's device; regenerated latents need rows of their own."""
        size = self.recipe.train.batch_size
        part = slice(number * size, (number + 1) * size)
        rollouts = made.rollouts[part]
        share = self.rl.share_prompts and not regenerate
        micro = replay_batch(self.latent_model, made.samples[part], rollouts, share=share)
        counts = [not (self.rl.mask_truncated and rollout.finish == "length") for rollout in rollouts]
        micro["counts"] = torch.tensor(counts)
        micro["advantages"] = made.advantages_B[part]
        sampled = [p for r in rollouts for p, mine in zip(r.log_probs, r.sampled, strict=True) if mine]
        micro["sampled_log_probs"] = torch.tensor(sampled)
        micro["number"] = number
        return on_device(micro, self.latent_model)

    @torch.no_grad()
    def _scored(self, micro: dict[str, Any], regenerate: bool) -> Likelihoods:
        """Likelihoods without gradient, in one forward pass."""
        self.latent_model.train()  # as in the update, where activations are recomputed in training mode alone
        asked = self._scoring(regenerate)
        scores: Scores = self.latent_model(batch=micro, stage=self.run.stage, scoring=asked)
        return likelihoods(scores, micro, self.rl)

    @property
    def _regenerates(self) -> bool:
        return self.rl.replay == "regenerated"

    def _scoring(self, regenerate: bool) -> Scoring:
        """What is asked of a forward pass."""
        latents = self.rl.latent_ratio != "none"
        return Scoring(self.rl.temperature, self.recipe.decode.suppress, latents, regenerate)

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
        for name, values in found.values.items():
            self._tally.add(name, values)
        self._note(made, scores, now, inputs)
        return (found.loss, scores) if return_outputs else found.loss

    def _note(self, made: Round, scores: Scores, now: Likelihoods, inputs: dict[str, Any]) -> None:
        """Count what is logged beside the loss."""
        counts_L = inputs["counts"].unsqueeze(1).expand_as(inputs["chosen"])[inputs["chosen"]]
        self._tally.add("entropy", scores.entropies_L[counts_L])
        if self._spans is not None:
            self._tally.add("latent_drift", drift(now, inputs))
        if self.state.global_step % self._updates == 0:
            # No update since the rollouts: replay and sampling are to agree.
            gap_L = (scores.log_probs_L.detach() - inputs["sampled_log_probs"]).abs()
            made.gap = max([made.gap, *gap_L.tolist()])

    # --- logs

    def _merged(self, tally: Tally) -> Tally:
        """A tally over all processes."""
        if self.accelerator.num_processes == 1:
            return tally
        parts = self.accelerator.gather(tally.to_tensor()[None].to(self.accelerator.device))
        out = Tally()
        for part in parts.cpu():
            out.merge(Tally.from_tensor(tally.parts, part))
        return out

    def _figures(self) -> dict[str, float]:
        """Loss, rewards and health of the logged optimiser step."""
        seconds = {**self._seconds, "time/update": time.perf_counter() - self._update_began}
        assert self._round is not None  # noqa: S101 - a step was made
        self._tally.add("replay_gap", torch.tensor([self._round.gap]))
        step = self._merged(self._tally)
        figures = {"loss": float(self.accelerator.reduce(self._window.means()["policy"], "mean"))}
        figures.update(self._round_tally.figures())
        figures.update(step.figures())
        figures["replay_gap"] = step.parts["replay_gap"].high
        return {**figures, **seconds}

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
            for entry in completion_rows(self._round, records, names, tokenizer, many, step):
                self._samples.append(entry)

    @property
    def _epoch(self) -> float:
        step: int = self.state.global_step
        return step / self.updates_per_epoch

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
        self._watchman.load(json.loads((folder / WATCH).read_text(encoding="utf-8")))
        rank = self.args.process_index
        places = saved_places(folder, rank)
        if places is not None:
            samples = self._maker.prompts.samples(places)
            self._round = load_round(folder, rank, samples, self.latent_model.backbone.device)
            self._count(self._round)
