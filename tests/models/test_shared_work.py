"""Work that processes share: each item is done once, and the mistake of one process is raised by all.

Breaks when: a process that fails leaves the others waiting, or they end in an error about connections.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from torch.utils.data import Dataset

from latentvr.errors import RecordError, SaveError
from latentvr.models.shared_work import shared


class Numbers(Dataset[int]):
    """Numbers, one of which is wrong."""

    def __init__(self, size: int, wrong: int | None = None) -> None:
        self.size = size
        self.wrong = wrong

    def __getitem__(self, index: int) -> int:
        if index == self.wrong:
            raise RecordError(f"expected another number, got {index}")
        return index


def _squared(number: int) -> int:
    return number**2


@pytest.mark.parametrize("workers", [0, 1])
def test_alone(workers: int) -> None:
    assert shared(Numbers(600), 600, workers, _squared, "done") == [number**2 for number in range(600)]
    with pytest.raises(RecordError) as caught:
        shared(Numbers(600, wrong=300), 600, workers, _squared, "done")
    assert str(caught.value) == "expected another number, got 300"


def _on_a_rank(rank: int, folder: str, told: Any) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/met", rank=rank, world_size=2)
    found: list[Any] = [sum(shared(Numbers(1025), 1025, 0, lambda _: 1, "done"))]

    def work(number: int) -> int:
        if number == 900:
            raise SaveError("expected room")
        return number

    for numbers in (Numbers(1025, wrong=3), Numbers(1025, wrong=1024), Numbers(1025)):
        try:
            shared(numbers, 1025, 0, work, "done")
        except (RecordError, SaveError) as error:
            found.append(f"{type(error).__name__}: {error}")
    told.put((rank, found))
    dist.destroy_process_group()


@pytest.mark.slow
def test_on_two_ranks(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    started = [context.Process(target=_on_a_rank, args=(rank, str(tmp_path), told)) for rank in (0, 1)]
    for process in started:
        process.start()
    found = dict(told.get(timeout=60) for _ in started)
    for process in started:
        process.join(60)
    errors = [
        "RecordError: expected another number, got 3",
        "SaveError: expected room",
        "SaveError: expected room",
    ]
    assert found == {0: [513, *errors], 1: [512, *errors]}
