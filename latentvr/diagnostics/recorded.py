"""The latents that a model made for its own answers, and their moments over the data.

A record's latents are a list of tensors: (n, D) for each latent span of its answer, or a single one
(L, n, D) for the slots of its prompt, where L counts the decoder's layers. Slots are counted along the last
dimension but one. An empty list stands for an answer without latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

Latents = list[Tensor]
#: Latents by a record's place in its source.
Given = Callable[[int], Latents]


#: Reason of what replaces latents where no answer has any.
NO_LATENTS = "no answer has latents"


def drawn(seed: int, place: int) -> torch.Generator:
    """What a record draws with: it depends on the seed and the record's place alone, never on batches.

    Both are mixed into 32 bits: torch's generator on the CPU looks at no more.
    """
    state = np.random.SeedSequence((seed, place)).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


class NotApplicable(Exception):
    """An intervention does not apply to a method or to the records; the message says why."""


class Recorded:
    """Latents of all records of a source.

    Args:
        latents: by place.
        answers: expected answers by place, in canonical form.
        tasks: tasks by place.

    Raises:
        NotApplicable: no record has latents.
    """

    def __init__(self, latents: Sequence[Latents], answers: Sequence[str], tasks: Sequence[str]) -> None:
        self.latents = latents
        self.answers = answers
        self.tasks = tasks
        if not any(span.shape[-2] for span in self.spans()):
            raise NotApplicable(NO_LATENTS)
        self._moments: tuple[list[Tensor], list[Tensor]] | None = None

    def spans(self) -> Iterator[Tensor]:
        """All spans of all records."""
        return (span for spans in self.latents for span in spans)

    def moments(self, slots: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each slot over the data.

        Args:
            slots: number of slots, from the first on.

        Returns:
            Two tensors (..., slots, D) in float32. A slot that only one span has, or none, gets the figures
            of all slots together: its own mean would be that span's latent itself.
        """
        if self._moments is None:
            self._moments = self._computed()
        if not slots:
            like = self._moments[0][0]
            none = like.new_zeros(*like.shape[:-1], 0, like.shape[-1])
            return none, none
        parts = [[made[min(slot, len(made) - 1)] for slot in range(slots)] for made in self._moments]
        mean, deviation = (torch.stack(part, -2) for part in parts)
        return mean, deviation

    def _computed(self) -> tuple[list[Tensor], list[Tensor]]:
        """Means and deviations (..., D) of each slot that two spans have, and last those of all slots."""
        longest = max(span.shape[-2] for span in self.spans())
        like = next(iter(self.spans()))
        empty = like.new_zeros(*like.shape[:-2], longest, like.shape[-1], dtype=torch.float64)
        total, squares, counts = empty, empty.clone(), [0] * longest
        for span in self.spans():
            slots = span.shape[-2]
            total[..., :slots, :] += span
            squares[..., :slots, :] += span.double().square()
            for slot in range(slots):
                counts[slot] += 1
        groups = [[slot] for slot, count in enumerate(counts) if count > 1] + [list(range(longest))]
        means, deviations = [], []
        for group in groups:
            count = sum(counts[slot] for slot in group)
            mean = total[..., group, :].sum(-2) / count
            variance = (squares[..., group, :].sum(-2) / count - mean.square()).clamp(min=0)
            means.append(mean.float())
            deviations.append(variance.sqrt().float())
        return means, deviations
