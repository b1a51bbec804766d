"""The order of samples."""

from __future__ import annotations

import random

import pytest

from latentvr.trainers.order import EpochOrder


def order(size: int, seed: int = 0, stage: int = 0, epoch: int = 0) -> list[int]:
    sampler = EpochOrder(size, seed, stage)
    sampler.set_epoch(epoch)
    return list(sampler)


DRAW = random.Random(7)  # noqa: S311 - cases of a test
CASES = [
    (DRAW.randint(1, 300), DRAW.randrange(2**32), DRAW.randrange(5), DRAW.randrange(50)) for _ in range(60)
]


@pytest.mark.parametrize("case", CASES)
def test_each_sample_comes_once_and_the_order_is_a_pure_function(case: tuple[int, int, int, int]) -> None:
    random.seed(case[1])
    first = order(*case)
    assert sorted(first) == list(range(case[0]))
    assert order(*case) == first
    assert len(EpochOrder(*case[:3])) == case[0]


def test_epoch_stage_and_seed_each_change_the_order() -> None:
    orders = [order(50, seed, stage, epoch) for seed in range(4) for stage in range(3) for epoch in range(12)]
    assert len({tuple(o) for o in orders}) == len(orders)


def test_a_restart_in_a_later_epoch_gives_that_epochs_order() -> None:
    running = EpochOrder(40, 1, 0)
    seen = []
    for epoch in range(3):
        running.set_epoch(epoch)
        seen.append(list(running))
    assert seen[2] == order(40, 1, 0, 2)
    assert seen[0] != seen[1]
