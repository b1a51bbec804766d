"""Signals and exit codes of a launch: every process gets a signal once, and its own code comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentvr.runs.torchrun import exit_code

# A process that says it is there, counts signals, takes its time to end and leaves as it was told.
WORK = """
import os, signal, sys, time
folder, code = sys.argv[1], int(sys.argv[2])
got = []
for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: got.append(number))
mine = os.path.join(folder, os.environ["RANK"])
open(mine, "w").close()
until = time.monotonic() + 120
while not got and time.monotonic() < until:
    time.sleep(0.02)
time.sleep(0.5 if os.environ["RANK"] == "0" else 0.2)  # the last to end wins no race and loses none
open(mine, "w").write(str([int(number) for number in got]))
time.sleep(0.6)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("codes", "code"),
    [([143, 143], 143), ([143, -15], 143), ([2, -15], 2), ([1, -9], 1), ([-9, -15], 137), ([3], 3)],
)
def test_the_code_of_a_launch(codes: list[int], code: int) -> None:
    assert exit_code(codes) == code


def test_a_signal_reaches_every_process_once(tmp_path: Path) -> None:
    """Breaks when: the launcher dies of the signal, does not wait, or ends with its own code."""
    (tmp_path / "work.py").write_text(WORK)
    folder = tmp_path / "ranks"
    folder.mkdir()
    command = [sys.executable, "-m", "latentvr.runs.torchrun", "--standalone", "--nproc-per-node", "2"]
    launch = subprocess.Popen(
        [*command, str(tmp_path / "work.py"), str(folder), "143"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(folder.iterdir())) < 2:
        assert launch.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    launch.send_signal(signal.SIGUSR1)
    assert launch.wait(60) == 143
    assert [(folder / rank).read_text() for rank in "01"] == [f"[{int(signal.SIGUSR1)}]"] * 2
