"""What an optimiser step of reinforcement, and the round that it trains on, put into the log."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from latentvr.models.latent_model import LatentModel
from latentvr.models.scoring import Scores
from latentvr.rl.objective import Likelihoods, drift
from latentvr.rl.round import Round
from latentvr.rl.round_figures import Tally, round_tally


class StepFigures:
    """Figures of one step at a time, over all processes.

    Args:
        model: says whether its answers open latent spans, and what closes them.
        names: of the reward functions.
        group: completions of a prompt.
        accelerator: puts the processes' figures together.

    Attributes:
        seconds: time of the round's phases.
    """

    def __init__(
        self, model: LatentModel, names: Sequence[str], group: int, accelerator: Accelerator
    ) -> None:
        span = model.reasoner.span()
        self.seconds: dict[str, float] = {}
        self._spans = span is not None
        self._closing = None if span is None else model.token_ids[span.end[-1]]
        self._names = names
        self._group = group
        self._accelerator = accelerator
        self._round = Tally()
        self._step = Tally()
        self._began = 0.0

    def count_round(self, made: Round) -> None:
        """Count a new round."""
        tally = round_tally(
            made.rollouts,
            made.rewards_BF,
            self._names,
            made.combined_B,
            self._group,
            self._spans,
            self._closing,
        )
        self._round = self._merged(tally)

    def begin_step(self) -> None:
        """Forget the step before, and start the clock."""
        self._step = Tally()
        self._began = time.perf_counter()

    def count_micro(
        self, made: Round, scores: Scores, now: Likelihoods, batch: Mapping[str, Any], fresh: bool
    ) -> None:
        """Count a micro-batch.

        Args:
            made: its round, which remembers the largest gap between replay and sampling.
            scores: under the weights that train.
            now: the same, laid out by columns.
            batch: the micro-batch.
            fresh: whether no weight has changed since the rollouts.
        """
        counts_L = batch["counts"].unsqueeze(1).expand_as(batch["chosen"])[batch["chosen"]]
        self.add({"entropy": scores.entropies_L[counts_L]})
        if self._spans:
            self.add({"latent_drift": drift(now, batch)})
        if fresh:
            gap_L = (scores.log_probs_L.detach() - batch["sampled_log_probs"]).abs()
            made.gap = max([made.gap, *gap_L.tolist()])

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count values of some quantities."""
        for name, found in values.items():
            self._step.add(name, found)

    def of(self, made: Round) -> dict[str, float]:
        """Figures of the step that is done, and of its round."""
        seconds = {**self.seconds, "time/update": time.perf_counter() - self._began}
        self._step.add("replay_gap", torch.tensor([made.gap]))
        step = self._merged(self._step)
        gap = step.parts["replay_gap"].high
        return {**self._round.figures(), **step.figures(), "replay_gap": gap, **seconds}

    def _merged(self, tally: Tally) -> Tally:
        """A tally over all processes."""
        if self._accelerator.num_processes == 1:
            return tally
        parts = self._accelerator.gather(tally.to_tensor()[None].to(self._accelerator.device))
        out = Tally()
        for part in torch.as_tensor(parts).cpu():
            out.merge(Tally.from_tensor(tally.parts, part))
        return out
