"""Which rows are in latent mode, what they are fed, and which markers are written for them.

Shape letters: B batch, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentvr.config.schema import DecodeConfig
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import LatentState

#: Makes of latents (B, D) and the hidden states (B, D) that they come of what is fed instead.
Perturb = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Turn:
    """What comes next in each row.

    Attributes:
        ids_B: the token, or the one that stands in a slot.
        ids: the same numbers.
        slot: rows that are fed a latent; None where there are none.
        span: number of each row's present latent span; None where `slot` is.
        sampled: rows whose token is the model's choice; None where all are.
        inputs_BD: latents for the rows of `slot`, or None where there are none.
    """

    ids_B: Tensor
    ids: list[int]
    slot: list[bool] | None = None
    span: list[int] | None = None
    sampled: list[bool] | None = None
    inputs_BD: Tensor | None = None

    def text_ids(self, before_B: Tensor) -> Tensor:
        """The tokens as text: a slot repeats the token before it."""
        if self.slot is None:
            return self.ids_B
        return torch.where(torch.tensor(self.slot, device=before_B.device), before_B, self.ids_B)


class LatentMode:
    """The state of all rows.

    It is kept in lists of Python and not in tensors: a step in which no row is in a span, as most are, then
    costs no tensor operation at all.

    Args:
        model: its reasoner says what a span looks like, what is fed and who leaves.
        decode: exit, limits, closing markers.
        last: last token of each prompt.
        feed: for each row, latents of its spans, to be fed instead of the model's own; the last ones serve
            all further spans, and an empty list leaves the row alone.
        perturb: changes the model's own latents; end vectors and given latents are left alone.
    """

    def __init__(
        self,
        model: LatentModel,
        decode: DecodeConfig,
        last: list[int],
        feed: Sequence[Sequence[Tensor]] | None,
        perturb: Perturb | None = None,
    ) -> None:
        self.perturb = perturb
        self.reasoner = model.reasoner
        self.decode = decode
        span, ids, batch = self.reasoner.span(), model.token_ids, len(last)
        self.start = None if span is None else ids[span.start]
        self.slot = -1 if span is None else ids[span.slot]
        self.closing = [] if span is None else [ids[text] for text in span.end]
        self.feed = feed
        self.last = last
        self.inside = [False] * batch
        self.steps = [0] * batch
        self.span = [-1] * batch
        # Closing markers that are still to be written.
        self.pending: list[list[int]] = [[] for _ in last]
        self._busy = False

    def turn(self, hidden_BD: Tensor, choice_B: Tensor, done: list[bool]) -> Turn:
        """Go on by one position.

        Args:
            hidden_BD: hidden states at the last positions.
            choice_B: tokens that the model would write.
            done: rows that have ended.

        Returns:
            What comes next.
        """
        choice = choice_B.tolist()
        if not self._busy and self.start not in self.last:
            self.last = choice
            return Turn(choice_B, choice)
        for i, last in enumerate(self.last):
            if done[i]:
                self.inside[i] = False
                self.pending[i] = []
            elif last == self.start and not self.inside[i]:
                self.inside[i], self.steps[i], self.span[i] = True, 0, self.span[i] + 1
        inputs_BD, in_slots = self._inside(hidden_BD, choice_B) if any(self.inside) else (None, choice)
        return self._write(choice, in_slots, inputs_BD, choice_B.device)

    def _write(
        self, choice: list[int], in_slots: list[int], inputs_BD: Tensor | None, device: torch.device
    ) -> Turn:
        """Choose between slot, closing marker and choice for each row."""
        ids, slot, sampled = list(choice), list(self.inside), [False] * len(choice)
        for i, inside in enumerate(slot):
            if inside:
                ids[i] = in_slots[i]
                self.steps[i] += 1
            elif self.pending[i]:
                ids[i] = self.pending[i].pop(0)
            else:
                sampled[i] = True
        self.last = ids
        some = any(slot)
        self._busy = some or any(self.pending)
        ids_B = torch.tensor(ids, device=device)
        if not some:
            return Turn(ids_B, ids, sampled=sampled)
        return Turn(ids_B, ids, slot, list(self.span), sampled, inputs_BD)

    def _inside(self, hidden_BD: Tensor, choice_B: Tensor) -> tuple[Tensor, list[int]]:
        """Ask the method; rows that leave get their closing markers."""
        given = [self._given(i) for i in range(len(self.last))]
        used_up = [span is not None and self.steps[i] >= len(span) for i, span in enumerate(given)]
        # Where given latents are used up, so are the method's own steps.
        steps = [max(n, self.decode.latent_steps) if used_up[i] else n for i, n in enumerate(self.steps)]
        inside_B, steps_B, last_B = (
            torch.tensor(part, device=choice_B.device) for part in (self.inside, steps, self.last)
        )
        state = LatentState(hidden_BD, inside_B, steps_B, choice_B, last_B, self.decode)
        inputs_BD, leave_B, ids_B = self.reasoner.latent_step(state)
        if self.perturb is not None:
            own_B = inside_B if ids_B is None else inside_B & torch.eq(ids_B, self.slot)
            changed_BD = self.perturb(inputs_BD, hidden_BD).to(inputs_BD.dtype)
            inputs_BD = torch.where(own_B.unsqueeze(-1), changed_BD, inputs_BD)
        leave = leave_B.tolist()
        ids = [self.slot] * len(leave) if ids_B is None else ids_B.tolist()
        put = [i for i, span in enumerate(given) if span is not None and not used_up[i]]
        for i in put:
            leave[i], ids[i] = False, self.slot
        for i, last in enumerate(self.last):
            if self.inside[i] and leave[i]:
                self.inside[i] = False
                if self.decode.force_end:
                    # An end vector has already put the first marker in the last slot.
                    self.pending[i] = self.closing[int(last == self.closing[0]) :]
        return self._put(inputs_BD, put, given), ids

    def _given(self, row: int) -> Tensor | None:
        """The latents (n, D) that are given for a row's present span; None where it takes the model's own."""
        if self.feed is None or not self.inside[row] or not self.feed[row]:
            return None
        return self.feed[row][min(self.span[row], len(self.feed[row]) - 1)]

    def _put(self, inputs_BD: Tensor, rows: list[int], given: list[Tensor | None]) -> Tensor:
        """Put in the given latents of some rows."""
        if not rows:
            return inputs_BD
        spans = [(i, given[i]) for i in rows]
        put_RD = torch.stack([span[self.steps[i]] for i, span in spans if span is not None]).to(inputs_BD)
        return inputs_BD.index_copy(0, torch.tensor(rows, device=inputs_BD.device), put_RD)
