"""Optimiser, schedule and generators come back to the bit, and nothing is unpickled."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from latentvr.config.schema import OptimConfig
from latentvr.errors import CheckpointError
from latentvr.trainers.optimizer import adamw, scheduler
from latentvr.trainers.training_state import (
    MOMENTS,
    SETTINGS,
    generators_file,
    load_generators,
    load_optimizer,
    save_generators,
    save_optimizer,
)


def parts(width: int = 3) -> tuple[torch.nn.Linear, torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    torch.manual_seed(1)
    layer = torch.nn.Linear(width, 2)
    groups = [{"params": [layer.weight], "lr": 0.3}, {"params": [layer.bias], "lr": 0.1, "weight_decay": 0.0}]
    optimizer = adamw(groups, OptimConfig())
    return layer, optimizer, scheduler(optimizer, OptimConfig(warmup=0.3), 9)


def step(
    layer: torch.nn.Linear, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR
) -> None:
    optimizer.zero_grad()
    layer(torch.ones(1, layer.in_features)).square().sum().backward()
    optimizer.step()
    schedule.step()


def test_training_goes_on_the_same(tmp_path: Path) -> None:
    layer, optimizer, schedule = parts()
    for _ in range(4):
        step(layer, optimizer, schedule)
    save_optimizer(tmp_path, optimizer, schedule, None)
    other, second, later = parts()
    other.load_state_dict(layer.state_dict())
    load_optimizer(tmp_path, second, later, None)
    for _ in range(4):
        step(layer, optimizer, schedule)
        step(other, second, later)
        assert torch.equal(layer.weight, other.weight)
        assert torch.equal(layer.bias, other.bias)
        assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for g in second.param_groups]


def draws() -> tuple[object, ...]:
    return (random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item())  # noqa: S311


@pytest.mark.parametrize("before", [0, 1, 5])
def test_generators_go_on_the_same(before: int, tmp_path: Path) -> None:
    for _ in range(before):
        draws()
    random.gauss(0, 1), np.random.randn()  # each holds a second number back
    save_generators(tmp_path, 0)
    want = [draws() for _ in range(3)]
    load_generators(tmp_path, 0)
    assert [draws() for _ in range(3)] == want


def test_other_parameters_are_refused(tmp_path: Path) -> None:
    layer, optimizer, schedule = parts()
    step(layer, optimizer, schedule)
    save_optimizer(tmp_path, optimizer, schedule, None)
    lone = adamw([{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": 1.0}], OptimConfig())
    with pytest.raises(CheckpointError, match=r"^expected the optimiser's state, got: "):
        load_optimizer(tmp_path, lone, schedule, None)


@pytest.mark.parametrize("name", [MOMENTS, SETTINGS, generators_file(0)])
@pytest.mark.parametrize("content", [b"", b"junk", b"cos\nsystem\n(S'exit 3'\ntR.", b"{}", b"[]"])
def test_a_file_of_another_kind_is_refused_in_one_sentence(name: str, content: bytes, tmp_path: Path) -> None:
    layer, optimizer, schedule = parts()
    step(layer, optimizer, schedule)
    save_optimizer(tmp_path, optimizer, schedule, None)
    save_generators(tmp_path, 0)
    (tmp_path / name).write_bytes(content)

    def load() -> None:
        load_generators(tmp_path, 0)
        load_optimizer(tmp_path, optimizer, schedule, None)

    with pytest.raises(CheckpointError) as error:
        load()
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; fix: resume from another checkpoint")


def test_the_generators_of_a_missing_rank_are_refused(tmp_path: Path) -> None:
    save_generators(tmp_path, 0)
    with pytest.raises(
        CheckpointError, match=r"^expected the generators of rank 1, .* the number of processes"
    ):
        load_generators(tmp_path, 1)
