"""Two processes do what one does with twice the accumulation.

Breaks when: gradients are not synchronised (the loss forward went around the wrapped module), a mean is taken
per process, both processes write the run folder, or a stage has too many steps.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from latentvr.config.load import load

HERE = Path(__file__).parent
SCRIPT, RECIPES = HERE / "ranks_run.py", HERE.parents[1] / "recipes"
# Sizes of answers and images differ between samples, so a mean of means would not be the mean.
SETTINGS = [
    "model.path=tiny-qwen3-vl", "data.feature_cache=off", "data.tasks=[counting_class, jigsaw]",
    "data.toy.train=6", "data.toy.validation=4",
    "train.batch_size=1", "train.device=cpu", "optim.learning_rate=1e-3", "optim.eps=1e-5",
    "optim.warmup=0", "log.every=1", "log.samples=true",
]  # fmt: skip


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# Eight packed rows in each stage, so that no process gets a row twice.
PACKED = ["data.packing=true", "data.pack_length=130"]


@pytest.fixture(
    scope="module",
    params=["livr_tiny", "lvr_tiny", pytest.param("livr_tiny packed", marks=pytest.mark.slow)],
)
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One process with accumulation 4, two with accumulation 2: 3 steps per stage, or 2 of packed rows.

    The numbers of latent slots differ between samples too, and with them the items of their loss.
    """
    name, _, packed = request.param.partition(" ")
    path = RECIPES / f"{name}.yaml"
    settings = [
        *SETTINGS,
        *(PACKED if packed else []),
        *(f"stages.{name}.epochs=1" for name in load(path).recipe.stages),
    ]
    found = {n: tmp_path_factory.mktemp(f"ranks{n}") for n in (1, 2)}
    runpy.run_path(str(SCRIPT))["work"](str(path), found[1], [*settings, "train.gradient_accumulation=4"])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += [
        f"--master_port={_port()}",
        str(SCRIPT),
        str(path),
        str(found[2]),
        *settings,
        "train.gradient_accumulation=2",
    ]
    paths = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    return found


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def test_every_step_has_the_same_samples_and_losses(folders: dict[int, Path]) -> None:
    one, two = ([row for row in _rows(folders[n]) if "loss" in row] for n in (1, 2))
    steps = [row["step"] for row in one]
    assert steps == [row["step"] for row in two]
    assert steps in ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4])
    for a, b in zip(one, two, strict=True):
        assert sorted(a["samples"]) == sorted(b["samples"])
        assert len(set(b["samples"])) == len(b["samples"]) >= 4
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-5)
        if len(b["samples"]) == 4:  # the processes took them in turn from the one order of the run
            assert [b["samples"][i] for i in (0, 2, 1, 3)] == a["samples"]


def test_the_weights_are_those_of_one_process(folders: dict[int, Path]) -> None:
    weights = [load_file(folders[n] / "run" / "checkpoints" / "last" / "model.safetensors") for n in (1, 2)]
    assert weights[0].keys() == weights[1].keys()
    assert max(float((weights[0][k] - weights[1][k]).abs().max()) for k in weights[0]) < 1e-6


def test_both_processes_hold_the_same_weights(folders: dict[int, Path]) -> None:
    first, second = (load_file(folders[2] / f"rank-{i}.safetensors") for i in (0, 1))
    alone = load_file(folders[1] / "rank-0.safetensors")
    assert first.keys() == second.keys() == alone.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert max(float((first[name] - alone[name]).abs().max()) for name in first) < 1e-6


def test_one_process_writes_the_run_folder(folders: dict[int, Path]) -> None:
    assert [row["step"] for row in _rows(folders[2])] == [row["step"] for row in _rows(folders[1])]
    assert "resumed" not in json.loads((folders[2] / "run" / "manifest.json").read_text())
    assert (folders[2] / "run" / "checkpoints" / "best").is_dir()
    assert list((folders[2] / "run" / "checkpoints").glob("*.partial")) == []
