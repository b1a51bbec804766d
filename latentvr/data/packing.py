"""Rows of samples laid end to end: which samples share a row, and a data set of such rows.

The rows of a stage are made once from the lengths of its samples: a seeded permutation is cut into windows,
and each window is fitted into rows by first-fit-decreasing. All epochs of the stage have the same rows in
fresh orders, so the number of batches is constant and a run can go on anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from latentvr.data.dataset import EncodedDataset
from latentvr.data.encode import EncodedSample
from latentvr.errors import RecordError

log = logging.getLogger(__name__)
#: Epochs that a stage's seeds have room for; the number after the last one seeds its rows.
_EPOCHS = 10_000


def first_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put things into as few bins as a simple rule finds: the longest first, each into the first with room.

    The rule needs at most 11/9 of the fewest bins possible, and 6/9 of a bin more (Dosa 2007).

    Args:
        lengths: of the things, in tokens.
        capacity: of a bin, in tokens.

    Returns:
        The numbers of the things in each bin, ascending; bins in the order in which they were opened. Things
        of equal length are taken in their order.

    Raises:
        ValueError: a thing is longer than a bin.
    """
    if lengths and max(lengths) > capacity:
        raise ValueError(f"expected lengths of at most {capacity}, got {max(lengths)}")
    room = np.full(len(lengths), capacity)  # a bin for each thing is always enough
    bins: list[list[int]] = []
    for thing in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        first = int(np.argmax(room[: len(bins) + 1] >= lengths[thing]))
        if first == len(bins):
            bins.append([])
        bins[first].append(thing)
        room[first] -= lengths[thing]
    return [sorted(found) for found in bins]


def packed_rows(lengths: Sequence[int], capacity: int, window: int, seed: int, stage: int) -> list[list[int]]:
    """Fit samples into rows, the same ones whenever the arguments are the same.

    Args:
        lengths: of all samples, in tokens.
        capacity: longest row, in tokens.
        window: neighbours in a seeded permutation that are fitted together.
        seed: seed of the run.
        stage: index of the stage.

    Returns:
        The samples of each row, in the order of the permutation; each sample is in one row.

    Raises:
        ValueError: a sample is longer than a row.
    """
    generator = torch.Generator().manual_seed((seed * 100 + stage) * _EPOCHS + _EPOCHS - 1)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    rows = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        found = first_fit_decreasing([lengths[sample] for sample in part], capacity)
        rows += [[part[place] for place in row] for row in found]
    return rows


class PackedDataset(Dataset[list[EncodedSample]]):
    """Rows of encoded samples.

    Args:
        data: the samples.
        rows: numbers of the samples in each row.
        lengths: what all samples measure, in tokens.
    """

    def __init__(self, data: EncodedDataset, rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> None:
        self.data = data
        self.rows = rows
        self._lengths = lengths

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> list[EncodedSample]:
        """Encode the samples of a row.

        Args:
            index: number of the row.

        Returns:
            Its samples, in the order in which they lie.

        Raises:
            RecordError: a sample has another length than when it was measured.
        """
        row = [self.data[number] for number in self.rows[index]]
        for number, sample in zip(self.rows[index], row, strict=True):
            if len(sample.ids) != self._lengths[number]:
                where = self.data.source.where(self.data.source.records[number])
                raise RecordError(
                    f"expected {self._lengths[number]} tokens as at the start of the run, got "
                    f"{len(sample.ids)}, at {where}; fix: leave the images alone while a run reads them"
                )
        return row


@dataclass(frozen=True)
class Filling:
    """How well samples fit into rows.

    Attributes:
        rows: number of rows.
        samples: number of samples.
        tokens: of all samples.
        capacity: longest row, in tokens.
    """

    rows: int
    samples: int
    tokens: int
    capacity: int

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.samples:,} samples in {self.rows:,} rows of at most {self.capacity:,} tokens: "
            f"{self.samples / self.rows:.1f} samples and {self.tokens / self.rows:.1f} tokens per row, "
            f"{100 * self.tokens / (self.rows * self.capacity):.1f} % filled"
        )


class Packing:
    """Training samples as rows, other ones in each stage.

    Args:
        data: the samples.
        lengths: their lengths in tokens.
        capacity: longest row, in tokens.
        window: neighbours in the order of samples that are fitted together.
        seed: seed of the run.

    Raises:
        RecordError: a sample is longer than a row.
    """

    def __init__(
        self, data: EncodedDataset, lengths: Sequence[int], capacity: int, window: int, seed: int
    ) -> None:
        require_fit(data, lengths, capacity)
        self.data = data
        self._lengths = lengths
        self._capacity = capacity
        self._window = window
        self._seed = seed
        self._made: dict[int, PackedDataset] = {}

    def of_stage(self, index: int) -> PackedDataset:
        """The rows of the stage `index`."""
        if index not in self._made:
            rows = packed_rows(self._lengths, self._capacity, self._window, self._seed, index)
            self._made[index] = PackedDataset(self.data, rows, self._lengths)
        return self._made[index]

    def count(self, index: int) -> int:
        """Number of rows of the stage `index`."""
        return len(self.of_stage(index))

    def filling(self, index: int) -> Filling:
        """How well the samples fit into the rows of the stage `index`."""
        return Filling(self.count(index), len(self._lengths), sum(self._lengths), self._capacity)


def require_fit(data: EncodedDataset, lengths: Sequence[int], capacity: int) -> None:
    """Refuse samples that are longer than a row.

    Args:
        data: the samples.
        lengths: their lengths in tokens.
        capacity: longest row, in tokens.

    Raises:
        RecordError: the first such sample.
    """
    for record, length in zip(data.source.records, lengths, strict=True):
        if length > capacity:
            raise RecordError(
                f"expected at most {capacity} tokens, as data.pack_length says, got {length}, "
                f"at {data.source.where(record)}; fix: raise data.pack_length, or lower model.max_pixels"
            )
