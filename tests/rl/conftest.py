"""Scripts on two processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def on_two_ranks() -> Callable[..., None]:
    """Runs a script with its arguments under `torchrun` on two processes, and fails with its last words."""

    def run(script: Path, *arguments: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc_per_node=2",
            f"--master_port={port}",
        ]
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        whole = [*command, str(script), *map(str, arguments)]
        done = subprocess.run(whole, capture_output=True, text=True, env=env, timeout=120)
        assert done.returncode == 0, done.stderr[-4000:]

    return run
