"""Log lines off a terminal, a bar on one."""

from __future__ import annotations

import logging
import os
import pty
import sys
from pathlib import Path

import pytest
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from latentvr.trainers.progress import ProgressReport, wanted


def report(bar: bool, folder: Path) -> None:
    args, control = TrainingArguments(output_dir=str(folder), use_cpu=True), TrainerControl()
    state = TrainerState(global_step=2)
    progress = ProgressReport("causal", 4, 8, bar)
    progress.on_train_begin(args, state, control)
    state.global_step = 3
    progress.on_step_end(args, state, control)
    progress.on_log(args, state, control, logs={"loss": 1.25})
    progress.on_log(args, state, control, logs={"validation_accuracy": 0.5})
    progress.close()
    progress.close()


def test_lines_off_a_terminal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="latentvr")
    report(False, tmp_path)
    first, second = (
        record.getMessage() for record in caplog.records if record.name == "latentvr.trainers.progress"
    )
    assert first.startswith("causal 3/4  loss 1.2500  ")
    assert first.endswith(" samples/s")
    assert second == "causal 3/4  validation accuracy 0.500"


def read(terminal: int) -> str:
    try:
        return os.read(terminal, 100_000).decode()
    except BlockingIOError:
        return ""


def test_a_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="latentvr")
    mine, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert wanted(True)
        assert not wanted(False)
        report(True, tmp_path)
        terminal.flush()
        os.set_blocking(mine, False)
        shown = "".join(iter(lambda: read(mine), ""))
    os.close(mine)
    assert "causal" in shown
    assert "3/4" in shown
    assert [r for r in caplog.records if r.name == "latentvr.trainers.progress"] == []


def test_no_bar_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        assert not wanted(True)
