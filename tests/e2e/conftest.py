"""The command line, quick to start: `latentvr` without the seconds that importing torch takes."""

from __future__ import annotations

import multiprocessing
import os
import runpy
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("command_line.py")
ROOT = Path(__file__).parents[2]
OWN = ["latentvr.runs.sft", "latentvr.runs.evaluate", "latentvr.cli.main"]
PRELOAD = [*OWN, "transformers.trainer", "datasets"]
LIMIT = 240


@dataclass
class Finished:
    """What a command left behind.

    Attributes:
        code: exit code; minus the signal's number where one killed the process.
        out: text on stdout.
        err: text on stderr.
    """

    code: int
    out: str
    err: str


class Running:
    """A command that is under way."""

    def __init__(self, process: BaseProcess, out: Path, err: Path) -> None:
        self.process = process
        self.out = out
        self.err = err

    @property
    def pid(self) -> int:
        """Id of the process, which leads a group of its own."""
        assert self.process.pid is not None
        return self.process.pid

    def wait(self) -> Finished:
        """Wait for its end; one that hangs is killed and fails the test."""
        self.process.join(LIMIT)
        if self.process.is_alive():
            self.process.kill()
            pytest.fail(f"the command still ran after {LIMIT} s; stderr: {self.err.read_text()}")
        assert self.process.exitcode is not None
        return Finished(self.process.exitcode, self.out.read_text(), self.err.read_text())


class CommandLine:
    """Starts commands."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._folder = folder
        self._count = 0

    def start(
        self,
        *argv: str,
        kill: tuple[str, str, int] | None = None,
        sockets: bool = True,
        largest_file: int | None = None,
        **environment: str,
    ) -> Running:
        """Start `latentvr ARGV` in the repository's folder.

        Args:
            argv: arguments.
            kill: an audit event, a part of its path and a number: SIGKILL right before that occurrence.
            sockets: False makes every internet socket an error.
            largest_file: bytes that a file may have; writing more fails as on a full disk.
            environment: variables on top.
        """
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        settings: dict[str, Any] = {
            "argv": list(argv), "folder": str(ROOT), "out": str(out), "err": str(err), "kill": kill,
            "environment": environment, "sockets": sockets, "largest_file": largest_file,
        }  # fmt: skip
        process = self._context.Process(target=runpy.run_path, args=(str(SCRIPT), settings))
        process.start()
        return Running(process, out, err)

    def __call__(self, *argv: str, **settings: Any) -> Finished:
        """Run `latentvr ARGV` to its end."""
        return self.start(*argv, **settings).wait()


@pytest.fixture(scope="session")
def latentvr(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="session")
def span_model(latentvr: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that opens latent spans in most of its answers and is sure of nothing."""
    folder = tmp_path_factory.mktemp("span_model") / "run"
    longer = ["stages.sft.steps=40", "optim.learning_rate=3e-3", "data.toy.train=64", "train.batch_size=16"]
    plain = ["train.gradient_accumulation=1", "optim.warmup=0.1", f"train.output_dir={folder}"]
    done = latentvr("train", "tests/e2e/rl_tiny.yaml", *longer, *plain)
    assert done.code == 0, done.err
    return folder / "checkpoints" / "last"
