"""Launched runs: a signal to the script stops all processes after a save; the run goes on as if unbroken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launchers" / "torchrun.sh"
RECIPE = [
    "train", "tests/e2e/tiny.yaml", "data.toy.train=24", "data.toy.validation=4", "data.feature_cache=off",
    "stages.bottleneck.epochs=1", "stages.causal.epochs=1", "optim.trainable=lora", "train.batch_size=2",
    "train.device=cpu", "log.every=1", "log.samples=true",
]  # fmt: skip


def launched(*arguments: str) -> subprocess.Popen[str]:
    """The script with two processes."""
    variables = {"PYTHON": sys.executable, "NPROC": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments],
        cwd=ROOT, env={**os.environ, **variables}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(launch: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Exit code, and what was said to the user: log lines of the launcher and warnings of torch left out."""
    out, err = launch.communicate(timeout=240)
    return launch.returncode, [line for line in (out + err).splitlines() if line.startswith(("error:", "ch"))]


def test_an_error_of_all_processes_is_told_once_and_keeps_its_code() -> None:
    code, said = finished(launched(*RECIPE, "optim.lr=1"))
    assert (code, len(said)) == (2, 1)
    assert "did you mean optim.learning_rate?" in said[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert finished(launched(*RECIPE, f"train.output_dir={folder}"))[0] == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 143), (signal.SIGINT, 130)])
def test_a_signalled_launch_goes_on_as_if_unbroken(
    number: int, code: int, whole: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    launch = launched(*RECIPE, f"train.output_dir={broken}")
    metrics = broken / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and metrics.read_text().count("\n") >= 2):
        assert launch.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    launch.send_signal(number)
    left, said = finished(launch)
    (saved,) = (broken / "checkpoints").iterdir()
    assert (left, len(said)) == (code, 1)
    assert said[0] == f"error: stopped by a signal after a save at {saved}; go on with --resume"
    assert json.loads(metrics.read_text().splitlines()[-1])["step"] < 12

    assert finished(launched(*RECIPE, f"train.output_dir={broken}", "--resume-or-start"))[0] == 0
    assert metrics.read_text() == (whole / "metrics.jsonl").read_text()
    name = "checkpoints/last/adapter_model.safetensors"
    assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_resume_or_start_begins_a_new_run_and_goes_on_with_one_killed_before_its_first_save(
    latentvr: Any, tmp_path: Path
) -> None:
    few = ["data.toy.train=4", "stages.bottleneck.epochs=0", f"train.output_dir={tmp_path / 'run'}"]
    argv = [*RECIPE, *few, "stages.causal.epochs=1", "--resume-or-start"]
    killed = latentvr(*argv, kill=("open", "metrics.jsonl", 2))
    assert (killed.code, list((tmp_path / "run" / "checkpoints").glob("step-*[0-9]"))) == (
        -signal.SIGKILL,
        [],
    )
    done = latentvr(*argv)
    assert done.code == 0, done.err
    assert "resuming after step 0" in done.err
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    assert latentvr(*argv, "train.seed=1").code == 2
