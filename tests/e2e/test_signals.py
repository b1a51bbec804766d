"""A signal ends the run after the step that it fell in, with a save; the rest can be trained later."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECIPE = [
    "tests/e2e/tiny.yaml",
    "model.path=tiny-qwen2.5-vl",
    "data.toy.train=60",
    "data.toy.validation=4",
    "data.feature_cache=off",
    "stages.bottleneck.epochs=1",
    "stages.causal.epochs=1",
    "optim.trainable=lora",
    "train.batch_size=2",
    "log.every=1",
    "log.samples=true",
]
STEPS = 60


@pytest.fixture(scope="module")
def unbroken(latentvr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    done = latentvr("train", *RECIPE, f"train.output_dir={folder}")
    assert done.code == 0, done.err
    return folder


def wait_until(found: Callable[[], bool], running: Any) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert running.process.is_alive(), running.err.read_text()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def rows(folder: Path) -> list[dict[str, Any]]:
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def last_step(folder: Path) -> int:
    return max((row["step"] for row in rows(folder)), default=0)


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [
        (signal.SIGTERM, 143, 2),
        (signal.SIGINT, 130, 0),
        pytest.param(signal.SIGTERM, 143, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 143, 0, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_all_processes_saves_and_the_run_goes_on(
    number: int, code: int, workers: int, latentvr: Any, unbroken: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    argv = [*RECIPE, f"data.workers={workers}", f"train.output_dir={folder}"]
    running = latentvr.start("train", *argv)
    wait_until(lambda: last_step(folder) >= 3, running)
    os.killpg(running.pid, number)
    done = running.wait()
    assert done.code == code, done.err
    step = last_step(folder)
    assert step < STEPS
    saved = folder / "checkpoints" / f"step-{step}"
    assert done.err.splitlines()[-1] == (
        f"error: stopped by a signal after a save at {saved}; go on with --resume"
    )
    done = latentvr("train", *argv, "--resume")
    assert done.code == 0, done.err
    assert (folder / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    name = f"checkpoints/step-{STEPS}/adapter_model.safetensors"
    assert (folder / name).read_bytes() == (unbroken / name).read_bytes()


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the handlers of a process in /proc")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_run_at_once(second: int, latentvr: Any, tmp_path: Path) -> None:
    """Stopped in the middle of a step, the process gets both signals before it can finish the step."""
    folder = tmp_path / "run"
    slow = [*RECIPE, "train.gradient_accumulation=30", "data.toy.train=600", f"train.output_dir={folder}"]
    running = latentvr.start("train", *slow)
    wait_until(lambda: running.err.exists() and "stage bottleneck" in running.err.read_text(), running)
    wait_until(lambda: catches(running.pid, signal.SIGTERM), running)
    os.kill(running.pid, signal.SIGTERM)
    wait_until(lambda: not catches(running.pid, signal.SIGTERM), running)
    os.kill(running.pid, second)
    assert running.wait().code == -second
    assert list((folder / "checkpoints").glob("step-*[0-9]")) == []


def test_handlers_are_those_from_before_after_a_run() -> None:
    from latentvr.trainers.signals import EXIT_CODES, StopRequest

    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    with StopRequest().listening() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.exit_code == 143
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert {number: signal.getsignal(number) for number in EXIT_CODES} == before
