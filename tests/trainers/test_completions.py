"""Rows of `completions.jsonl` show all prompts of a round before they show one of them twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentvr.decoding.rollout import Rollout
from latentvr.rl.round import Round
from latentvr.runs.rl_report import completion_groups
from latentvr.trainers.completions import completion_rows

GROUP, PROMPTS = 3, 4


@pytest.fixture(scope="module")
def written(lab: Any) -> Any:
    """Gives rows of a round of four prompts and three completions of each; tokens tell them apart."""
    tokenizer = lab.model("tiny-qwen2.5-vl").processor.tokenizer
    none, size = torch.zeros(0, 4), GROUP * PROMPTS
    rollouts = [Rollout([i], [False], [True], [0.0], none, [], none, "end") for i in range(size)]
    values = torch.arange(float(size))
    rewards = torch.stack([values, torch.full((size,), torch.nan)], 1)
    made = Round(0, [], [], rollouts, rewards, values / 2, -values, torch.tensor(0.0))
    records = [replace(lab.records["one image"], id=f"r{i // GROUP}") for i in range(size)]

    def rows(many: int) -> list[dict[str, Any]]:
        return completion_rows(made, records, ["right", "rare"], tokenizer, many, 7, GROUP)

    return rows


@pytest.mark.parametrize(
    ("many", "places"),
    [
        (0, []),
        (2, [0, 3]),
        (4, [0, 3, 6, 9]),
        (6, [0, 3, 6, 9, 1, 4]),
        (100, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]),
    ],
)
def test_one_completion_of_each_group_comes_first(written: Any, many: int, places: list[int]) -> None:
    rows = written(many)
    assert [row["rewards"]["right"] for row in rows] == places
    for row, place in zip(rows, places, strict=True):
        assert row["id"] == f"r{place // GROUP}"
        assert (row["reward"], row["advantage"]) == (place / 2, -place)
        assert row["rewards"]["rare"] is None
        assert row["step"] == 7
    assert len({row["completion"] for row in rows}) == len(places)


def test_the_report_puts_completions_of_a_prompt_together(written: Any) -> None:
    groups = completion_groups(written(6))
    assert [group.heading.rpartition(" ")[2] for group in groups] == ["r0", "r1", "r2", "r3"]
    assert [len(group.completions) for group in groups] == [2, 2, 1, 1]
