"""Processes share the measuring of samples, and all of them know what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.runs.packing import packing
from latentvr.runs.sft import build_model_and_data

SETTINGS = [
    "model.path=tiny-qwen2.5-vl", "data.source=toy", "data.toy.train=3", "data.tasks=[counting, jigsaw]",
    "train.device=cpu", "data.packing=true", "data.max_length=200",
]  # fmt: skip


@pytest.mark.slow
def test_processes_make_the_rows_of_one(tmp_path: Path) -> None:
    recipe = load(None, SETTINGS).recipe
    alone = packing(recipe, build_model_and_data(recipe)[1])
    found = _on_two_ranks(tmp_path, 200)
    assert found == [[str(alone.filling(0)), alone.of_stage(0).rows]] * 2


@pytest.mark.slow
def test_processes_refuse_together(tmp_path: Path) -> None:
    """Breaks when: a process waits for one that has found a sample too long."""
    first, second = _on_two_ranks(tmp_path, 30)
    assert first == second
    assert "at most 30 tokens" in first[0]


def _on_two_ranks(folder: Path, longest: int) -> list[list[object]]:
    """Run the script as two processes; what they found."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    script = str(Path(__file__).with_name("lengths_on_ranks.py"))
    commands = [[sys.executable, script, str(rank), str(folder), str(longest)] for rank in (0, 1)]
    for process in [subprocess.Popen(command, env=env) for command in commands]:
        assert process.wait(timeout=120) == 0
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
