"""What the decoding loop writes down, step by step, and the rollouts that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from latentvr.decoding.choice import StopStrings
from latentvr.decoding.latent_mode import Turn
from latentvr.decoding.prefill import Prefilled
from latentvr.decoding.rollout import Rollout


class Transcript:
    """Tokens, latents and ends of all rows.

    Args:
        ends: ids that end an answer.
        batch: number of rows B.
        stops: tells which rows have written a stop string.
    """

    def __init__(self, ends: Sequence[int], batch: int, stops: StopStrings) -> None:
        self.done = [False] * batch
        self._ends = frozenset(ends)
        self._stops = stops
        self._turns: list[Turn] = []
        self._log_probs: list[Tensor] = []
        self._lengths = [0] * batch
        self._finish: list[Literal["end", "stop", "length"]] = ["length"] * batch

    @property
    def all_done(self) -> bool:
        """Whether every row has ended."""
        return all(self.done)

    def add(self, turn: Turn, log_probs_B: Tensor) -> None:
        """Write down a step, and find out which rows it ends."""
        self._turns.append(turn)
        self._log_probs.append(log_probs_B)
        if not self._ends.isdisjoint(turn.ids):
            for i, token in enumerate(turn.ids):
                if token in self._ends and (turn.sampled is None or turn.sampled[i]):
                    self._close(i, "end")
        if self._stops.strings:
            written = [self._turns[t].ids for t in range(max(0, len(self._turns) - self._stops.window),
                                                         len(self._turns))]  # fmt: skip
            for i, done in enumerate(self.done):
                if not done and self._stops([ids[i] for ids in written]):
                    self._close(i, "stop")

    def _close(self, row: int, finish: Literal["end", "stop"]) -> None:
        if not self.done[row]:
            self.done[row], self._finish[row], self._lengths[row] = True, finish, len(self._turns)

    def rollouts(self, start: Prefilled, opened: list[int], slot_id: int) -> list[Rollout]:
        """Cut each row at its end.

        Args:
            start: the prompts.
            opened: latent spans that each row has opened.
            slot_id: the token that stands for a latent.

        Returns:
            One rollout per row, those of a prompt side by side.
        """
        log_probs = torch.stack(self._log_probs, 1).tolist()
        latents = start.latents()
        each = len(self.done) // len(latents)
        return [
            self._rollout(i, log_probs[i], latents[i // each], opened[i], slot_id)
            for i in range(len(self.done))
        ]

    def _rollout(
        self, row: int, log_probs: list[float], latents_KD: Tensor, opened: int, slot_id: int
    ) -> Rollout:
        turns = self._turns[: self._lengths[row] if self.done[row] else None]
        sampled = [turn.sampled is None or turn.sampled[row] for turn in turns]
        slot = [turn.slot is not None and turn.slot[row] for turn in turns]
        fed = [turn.inputs_BD[row] for turn, is_slot in zip(turns, slot, strict=True)
               if is_slot and turn.inputs_BD is not None]  # fmt: skip
        none = latents_KD.new_zeros(0, latents_KD.shape[-1])
        spans: list[list[Tensor]] = [[] for _ in range(opened)]
        for turn in turns:
            latent = turn.slot is not None and turn.slot[row] and turn.ids[row] == slot_id
            if latent and turn.span is not None and turn.inputs_BD is not None:
                spans[turn.span[row]].append(turn.inputs_BD[row])
        return Rollout(
            ids=[turn.ids[row] for turn in turns],
            slot=slot,
            sampled=sampled,
            log_probs=[p if mine else 0.0 for p, mine in zip(log_probs, sampled, strict=False)],
            fed=torch.stack(fed).to(none.dtype) if fed else none,
            spans=[torch.stack(span).to(none.dtype) if span else none for span in spans],
            prompt_latents=latents_KD,
            finish=self._finish[row],
        )
