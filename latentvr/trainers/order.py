"""The order of samples: a pure function of seed, stage and epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochOrder(Sampler[int]):
    """A fresh permutation per epoch; restarts, workers and ranks do not change it.

    Args:
        size: number of samples.
        seed: seed of the run.
        stage: index of the stage.

    Attributes:
        epoch: set by the loader before each epoch.
    """

    def __init__(self, size: int, seed: int, stage: int) -> None:
        self.size = size
        self.seed = seed
        self.stage = stage
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of samples."""
        return self.size

    def __iter__(self) -> Iterator[int]:
        """Give each index once."""
        generator = torch.Generator().manual_seed((self.seed * 100 + self.stage) * 10_000 + self.epoch)
        yield from torch.randperm(self.size, generator=generator).tolist()
