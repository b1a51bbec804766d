"""Two processes of reinforcement do what one does with twice the accumulation.

Breaks when: a process draws its own prompts or noise by its rank, rewards or counts are averaged per process,
the loss forward goes around the wrapped module, or both processes write the run folder.
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

HERE = Path(__file__).parent
SCRIPT, RECIPE = HERE / "rl_ranks_run.py", HERE / "rl_tiny.yaml"
# Averaged over the whole step, and by micro-batch.
KINDS = [("dapo", "bnpo"), pytest.param(("grpo", "dr_grpo"), marks=pytest.mark.slow)]
STEPS = 5
SETTINGS = [
    "rl.rewards=[accuracy, format, varied]",
    f"rl.reward_file={HERE / 'rl_rewards.py'}",
    "rl.trust_reward_file=true",
    f"rl.steps={STEPS}",
    "rl.num_generations=4",
    "rl.rollout_batch_size=4",  # what is drawn does then not depend on the number of processes
    "rl.num_iterations=2",
    "rl.scale_rewards=batch",
    "rl.latent_ratio=gaussian",
    "reasoner.noise=0.1",  # drawn as learned, scored with a fixed deviation: part of it gets no gradient
    "train.device=cpu",
    "optim.eps=1e-5",
]
# Seconds differ, and in the last bits all figures; these are counts or extremes of one round.
EXACT = ("step", "epoch", "learning_rate", "completions/min_length", "completions/max_length")


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module", params=KINDS, ids=" ".join)
def kinds(request: pytest.FixtureRequest) -> list[str]:
    """Kinds of loss."""
    return list(request.param)


@pytest.fixture(scope="module")
def folders(kinds: list[str], span_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One process with accumulation 4, two with accumulation 2; buffers of four groups in all."""
    found = {n: tmp_path_factory.mktemp(f"rl_ranks{n}") for n in (1, 2)}
    settings = [*SETTINGS, f"model.path={span_model}"]
    alone = [*settings, "train.gradient_accumulation=4"]
    runpy.run_path(str(SCRIPT))["work"](str(RECIPE), found[1], kinds, alone)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += [f"--master_port={_port()}", str(SCRIPT), str(RECIPE), str(found[2]), ",".join(kinds)]
    command += [*settings, "train.gradient_accumulation=2"]
    paths = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    return found


def _rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize("place", [0, 1])
def test_every_step_has_the_same_figures(place: int, kinds: list[str], folders: dict[int, Path]) -> None:
    one, two = ([row for row in _rows(folders[n] / kinds[place]) if "loss" in row] for n in (1, 2))
    assert [row["step"] for row in one] == [row["step"] for row in two] == list(range(1, STEPS + 1))
    assert any(row["latent_norm"] > 0 for row in one)
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in (name for name in a if name != "stage" and not name.startswith("time/")):
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=0 if name in EXACT else 1e-5), name
    assert len({row["loss"] for row in one}) == STEPS


@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_has_moved_before_the_first_update(
    processes: int, kinds: list[str], folders: dict[int, Path]
) -> None:
    first = _rows(folders[processes] / kinds[0])[0]
    assert first["step"] == 1
    assert abs(first["kl"]) < 1e-6
    assert first["clip_ratio/region_mean"] == first["latent_clip_ratio"] == 0
    assert first["replay_gap"] < 1e-4
    assert first["latent_drift"] > 1e-3  # noise was drawn, and is no gap


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "checkpoints" / "last" / "model.safetensors")
    return found


@pytest.mark.parametrize("place", [0, 1])
def test_the_weights_are_those_of_one_process(place: int, kinds: list[str], folders: dict[int, Path]) -> None:
    weights = [_weights(folders[n] / kinds[place]) for n in (1, 2)]
    assert weights[0].keys() == weights[1].keys()
    assert max(float((weights[0][k] - weights[1][k]).abs().max()) for k in weights[0]) < 1e-6


def test_kinds_of_loss_lead_to_different_weights(kinds: list[str], folders: dict[int, Path]) -> None:
    """The comparisons above would say little otherwise."""
    a, b = (_weights(folders[1] / kind) for kind in kinds)
    assert max(float((a[name] - b[name]).abs().max()) for name in a) > 1e-5


def test_both_processes_hold_the_same_weights(folders: dict[int, Path]) -> None:
    first, second = (load_file(folders[2] / f"rank-{i}.safetensors") for i in (0, 1))
    alone = load_file(folders[1] / "rank-0.safetensors")
    assert first.keys() == second.keys() == alone.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert max(float((first[name] - alone[name]).abs().max()) for name in first) < 1e-6


def test_one_process_writes_the_run_folder(kinds: list[str], folders: dict[int, Path]) -> None:
    for kind in kinds:
        folder = folders[2] / kind
        assert [row["step"] for row in _rows(folder)] == [row["step"] for row in _rows(folders[1] / kind)]
        written = _rows(folder, "completions.jsonl")
        assert [row["step"] for row in written] == [s for s in range(1, STEPS + 1) for _ in range(4)]
        assert "resumed" not in json.loads((folder / "manifest.json").read_text())
        assert list((folder / "checkpoints").glob("*.partial")) == []


def test_each_process_keeps_its_own_part_of_an_unfinished_round(
    kinds: list[str], folders: dict[int, Path]
) -> None:
    """The last step is the first of two on its buffer."""
    one, two = (folders[n] / kinds[0] / "checkpoints" / "last" for n in (1, 2))
    kept = [load_file(two / f"rollouts-{rank}.safetensors") for rank in (0, 1)]
    assert kept[0]["rewards"].shape == kept[1]["rewards"].shape == (8, 3)
    assert not torch.equal(kept[0]["rewards"], kept[1]["rewards"])
    assert torch.equal(kept[0]["items"], kept[1]["items"])
    whole = load_file(one / "rollouts-0.safetensors")
    assert torch.equal(whole["rewards"], torch.cat([kept[0]["rewards"], kept[1]["rewards"]]))
