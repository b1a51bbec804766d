"""Two processes under ZeRO-2 and ZeRO-3 do what two processes with whole copies of everything do.

Breaks when: the loss is scaled once more for accumulation, the last and smaller step of an epoch is not
taken, token rows or a second stage find weights that are still split, a checkpoint lacks parts or another
optimiser cannot read it, or a step with infinite gradients is taken.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles with g++, which is missing"),
]
ZERO = {name: [f"train.deepspeed={ROOT / 'launchers/deepspeed' / name}.json"] for name in (
    "zero2", "zero3", "zero3_offload")}  # fmt: skip
ZERO["whole"] = []
SPLIT = ["zero2", "zero3"]
TRAINABLE = ["language", "lora"]
# 10 samples, one each for two processes and two passes: the last step of an epoch has one pass.
SFT = [
    "model.path=tiny-qwen3-vl", "data.feature_cache=off", "data.tasks=[counting_class, jigsaw]",
    "data.toy.train=5", "data.toy.validation=2", "train.batch_size=1", "train.gradient_accumulation=2",
    "train.device=cpu", "train.save_steps=1", "train.save_limit=9", "optim.learning_rate=1e-3",
    "optim.eps=1e-5", "optim.warmup=0", "log.every=1", "log.samples=true",
]  # fmt: skip
LIVR, LVR = ROOT / "recipes/livr_tiny.yaml", ROOT / "recipes/lvr_tiny.yaml"
STAGES = {
    LIVR: ["stages.bottleneck.epochs=1", "stages.causal.epochs=1"],
    LVR: ["stages.first.epochs=1", "stages.second.steps=0"],
}
RL = [
    "rl.rewards=[accuracy, format, varied]", f"rl.reward_file={HERE / 'rl_rewards.py'}",
    "rl.trust_reward_file=true", "rl.steps=3", "rl.num_generations=4", "rl.rollout_batch_size=4",
    "rl.num_iterations=2", "rl.scale_rewards=batch", "rl.latent_ratio=gaussian", "rl.beta=0.04",
    "reasoner.noise=0.1", "train.device=cpu", "train.gradient_accumulation=2", "train.save_steps=1",
    "train.save_limit=9", "model.lora.dropout=0", "optim.eps=1e-5",
]  # fmt: skip


def _launch(jobs: dict[str, dict[str, Any]], folder: Path) -> dict[str, Path]:
    """Make all runs in the same two processes; a folder for each."""
    found = {name: folder / name for name in jobs}
    for place in found.values():
        place.mkdir()
    entries = []
    for name, job in jobs.items():
        of = {"from": str(found[job["from"][0]] / job["from"][1])} if "from" in job else {}
        entries.append({**job, **of, "recipe": str(job["recipe"]), "folder": str(found[name])})
    (folder / "jobs.json").write_text(json.dumps(entries))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [*command, str(HERE / "zero_run.py"), str(folder / "jobs.json")],
        capture_output=True, text=True, env=env, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return found


def _sft(recipe: Path, zero: str, *overrides: str, **more: Any) -> dict[str, Any]:
    given = [*SFT, *STAGES[recipe], *ZERO[zero], *overrides]
    return {"do": "sft", "recipe": recipe, "overrides": given, **more}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Supervised runs of both kinds of training, and runs that go on from them."""
    jobs = {}
    for kind in TRAINABLE:
        for zero in ["whole", *SPLIT]:
            jobs[f"{kind} {zero}"] = _sft(LIVR, zero, f"optim.trainable={kind}")
    for zero in ["whole", *SPLIT]:
        jobs[f"lvr {zero}"] = _sft(LVR, zero)
    for before, after in [*zip(SPLIT, SPLIT, strict=True), ("zero3", "whole"), ("whole", "zero3")]:
        # After step 4: inside the second stage.
        for kind in TRAINABLE if before == after else ["lora"]:
            come = {"from": (f"{kind} {before}", "run"), "step": 4}
            jobs[f"{kind} {before} to {after}"] = _sft(LIVR, after, f"optim.trainable={kind}", **come)
    for zero in ["zero3_offload", "whole"]:
        short = ["optim.trainable=lora", "stages.causal.steps=0"]
        jobs[f"short {zero}"] = _sft(LIVR, zero, *short)
    for zero in ["whole", *SPLIT]:
        jobs[f"bfloat16 {zero}"] = _sft(LIVR, zero, *short, "model.dtype=bfloat16")
    for zero in SPLIT:
        jobs[f"infinite {zero}"] = _sft(LIVR, zero, "optim.learning_rate=1e30", fails=True)
    return _launch(jobs, tmp_path_factory.mktemp("zero_sft"))


@pytest.fixture(scope="module")
def rl_runs(span_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of reinforcement of both kinds of training, and one that goes on inside a buffer."""

    def job(kind: str, zero: str, **more: Any) -> dict[str, Any]:
        given = [*RL, *ZERO[zero], f"optim.trainable={kind}", f"model.path={span_model}"]
        return {"do": "rl", "recipe": HERE / "rl_tiny.yaml", "overrides": given, **more}

    jobs = {f"{kind} {zero}": job(kind, zero) for kind in TRAINABLE for zero in ["whole", *SPLIT]}
    jobs["language zero3 to zero3"] = job(
        "language", "zero3", **{"from": ("language zero3", "dapo"), "step": 1}
    )
    return _launch(jobs, tmp_path_factory.mktemp("zero_rl"))


def _rows(run: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if "loss" in row]


def _tensors(run: Path) -> dict[str, torch.Tensor]:
    """All weights and moments of the last checkpoint."""
    last = run / "checkpoints" / "last"
    files = sorted(last.glob("*.safetensors"))
    found = {
        f"{file.stem} {k}": v for file in files if "-" not in file.stem for k, v in load_file(file).items()
    }
    assert any(name.startswith("optimizer") for name in found)
    assert any(not name.startswith("optimizer") for name in found)
    return found


def _farthest(a: Path, b: Path) -> float:
    """Greatest difference between the last checkpoints of two runs.

    Parameters that no loss reaches have no moments, or under DeepSpeed moments of zero.
    """
    one, two = _tensors(a), _tensors(b)
    for name in one.keys() ^ two.keys():
        number, _, kind = name.partition(".")
        assert number.startswith("optimizer ")
        assert kind == "step" or not {**one, **two}[name].any()
    one = {name: tensor for name, tensor in one.items() if name in two}
    assert {k: v.shape for k, v in one.items()} == {k: two[k].shape for k in one}
    return max(float((one[k] - two[k]).abs().max()) for k in one)


def _require_alike(a: Path, b: Path) -> None:
    one, two = _rows(a), _rows(b)
    assert len(one) > 2
    assert [row.get("samples") for row in one] == [row.get("samples") for row in two]
    for name in ("step", "learning_rate"):
        assert [row[name] for row in one] == [row[name] for row in two]
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], abs=1e-5)
    assert [row["grad_norm"] for row in two] == pytest.approx([row["grad_norm"] for row in one], rel=1e-4)
    assert _farthest(a, b) < 5e-6


def _require_no_drift(a: Path, b: Path) -> None:
    """Both processes of a run end with the same weights, and another run with nearly the same."""
    first, second = (load_file(a / f"rank-{i}.safetensors") for i in (0, 1))
    other = load_file(b / "rank-0.safetensors")
    assert first.keys() == second.keys() == other.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert max(float((first[name] - other[name]).abs().max()) for name in first) < 5e-6


@pytest.mark.parametrize("zero", SPLIT)
@pytest.mark.parametrize("kind", [*TRAINABLE, "lvr"])
def test_supervised_training_is_that_of_whole_copies(kind: str, zero: str, runs: dict[str, Path]) -> None:
    whole, split = (runs[f"{kind} {name}"] for name in ("whole", zero))
    _require_alike(whole / "run", split / "run")
    _require_no_drift(split, whole)
    assert json.loads((split / "run" / "manifest.json").read_text())["zero_stage"] == int(zero[-1])


@pytest.mark.parametrize("zero", SPLIT)
@pytest.mark.parametrize("kind", TRAINABLE)
def test_reinforcement_is_that_of_whole_copies(kind: str, zero: str, rl_runs: dict[str, Path]) -> None:
    whole, split = (rl_runs[f"{kind} {name}"] for name in ("whole", zero))
    _require_alike(whole / "dapo", split / "dapo")
    _require_no_drift(split, whole)
    one, two = _rows(whole / "dapo"), _rows(split / "dapo")
    assert one[-1]["kl"] > 1e-4
    for name in ("kl", "reward", "entropy", "latent_norm"):
        assert [row[name] for row in two] == pytest.approx([row[name] for row in one], abs=1e-5), name


@pytest.mark.parametrize("zero", SPLIT)
@pytest.mark.parametrize("kind", TRAINABLE)
def test_a_resumed_run_is_the_unbroken_one(kind: str, zero: str, runs: dict[str, Path]) -> None:
    unbroken, resumed = runs[f"{kind} {zero}"] / "run", runs[f"{kind} {zero} to {zero}"] / "run"
    _require_same(unbroken, resumed, 4)


def test_reinforcement_goes_on_inside_a_buffer(rl_runs: dict[str, Path]) -> None:
    _require_same(rl_runs["language zero3"] / "dapo", rl_runs["language zero3 to zero3"] / "dapo", 1)


def _require_same(unbroken: Path, resumed: Path, step: int) -> None:
    """Bit by bit."""
    names = ("step", "loss", "grad_norm", "learning_rate")
    one, two = ([[row[name] for name in names] for row in _rows(run)] for run in (unbroken, resumed))
    assert one == two
    manifest = json.loads((resumed / "manifest.json").read_text())
    assert [entry["step"] for entry in manifest["resumed"]] == [step]
    assert _farthest(unbroken, resumed) == 0


@pytest.mark.parametrize(("before", "after"), [("zero3", "whole"), ("whole", "zero3")])
def test_checkpoints_do_not_know_of_deepspeed(before: str, after: str, runs: dict[str, Path]) -> None:
    _require_alike(runs[f"lora {before}"] / "run", runs[f"lora {before} to {after}"] / "run")


def test_optimiser_and_weights_can_lie_in_the_memory_of_the_machine(runs: dict[str, Path]) -> None:
    _require_alike(runs["short whole"] / "run", runs["short zero3_offload"] / "run")


@pytest.mark.parametrize("zero", SPLIT)
def test_bfloat16_keeps_what_trains_in_float32(zero: str, runs: dict[str, Path]) -> None:
    whole, split = (runs[f"bfloat16 {name}"] / "run" for name in ("whole", zero))
    losses = [[row["loss"] for row in _rows(run)] for run in (whole, split)]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)  # sums in another order, in bfloat16
    assert losses[1][0] == losses[0][0] != _rows(runs["short whole"] / "run")[0]["loss"]
    assert {tensor.dtype for tensor in _tensors(split).values()} == {torch.float32}
    assert _farthest(whole, split) < 1e-3


@pytest.mark.parametrize("zero", SPLIT)
def test_a_step_with_infinite_gradients_is_not_taken(zero: str, runs: dict[str, Path]) -> None:
    folder = runs[f"infinite {zero}"]
    for rank in (0, 1):
        said = (folder / f"error-{rank}.txt").read_text()
        assert said.startswith("NonFiniteError")
        assert "at step 2 of stage 'bottleneck'" in said
    assert [place.name for place in (folder / "run" / "checkpoints").iterdir()] == ["step-1"]
