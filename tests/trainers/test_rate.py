"""The learning rate of a stage."""

from __future__ import annotations

import math

import pytest
import torch

from latentvr.config.schema import OptimConfig
from latentvr.trainers.optimizer import rate, scheduler


def rates(total: int, **settings: object) -> list[float]:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = scheduler(optimizer, OptimConfig(**settings), total)  # type: ignore[arg-type]
    out = []
    for _ in range(total):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return out


def test_cosine_with_warm_up_by_hand() -> None:
    got = rates(10, warmup=0.2, schedule="cosine")
    want = [0.0, 1.0] + [2.0 * 0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert got == pytest.approx(want, abs=1e-12)


def test_linear_and_constant() -> None:
    assert rates(4, warmup=0.0, schedule="linear") == pytest.approx([2.0, 1.5, 1.0, 0.5])
    assert rates(4, warmup=0.5, schedule="constant") == pytest.approx([0.0, 1.0, 2.0, 2.0])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_the_rate_starts_at_zero_and_would_end_at_zero(schedule: str, total: int) -> None:
    warmup = math.ceil(0.05 * total)
    assert rate(0, warmup=warmup, total=total, schedule=schedule) == 0.0
    assert rate(warmup, warmup=warmup, total=max(total, warmup + 1), schedule=schedule) == 1.0
    assert rate(total + 1, warmup=warmup, total=total, schedule=schedule) == pytest.approx(0.0, abs=1e-12)
