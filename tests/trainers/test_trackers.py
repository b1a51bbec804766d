"""Trackers get the steps of the run: a second stage goes on where the first one ended.

The stand-ins are modules that the test writes: they note what the callbacks of transformers call.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from latentvr.trainers.trackers import RunSteps, tracker_callbacks

WANDB = """
class Config(dict):
    def update(self, *_, **__): pass

class Run:
    def _label(self, **_): pass

run, config, rows = None, Config(), []

def init(**_):
    global run
    run = Run()

def log(row):
    rows.append(row)
"""
TRACKIO = """
from types import SimpleNamespace

class Config(dict):
    def update(self, *_, **__): pass

config, rows, made, log = Config(), [], [], None
context_vars = SimpleNamespace(current_space_id=SimpleNamespace(get=lambda: None))

def init(**settings):
    made.append(settings)

def log(row):
    rows.append(row)

def finish(): pass
"""


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in (("wandb", WANDB), ("trackio", TRACKIO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    inner = tmp_path / "wandb" / "sdk" / "lib"
    inner.mkdir(parents=True)
    (inner / "config_util.py").write_text("class ConfigError(Exception): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = ("wandb", "trackio")
    for name in names:
        sys.modules.pop(name, None)
    yield
    for name in [m for m in sys.modules if m.split(".")[0] in names]:
        del sys.modules[name]


def _stage(callback: TrainerCallback, folder: Path, steps: int) -> None:
    """What the trainer calls in a stage."""
    args = TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True, run_name="r")
    state, control = TrainerState(), TrainerControl()
    callback.on_train_begin(args, state, control, model=None)
    for step in range(1, steps + 1):
        state.global_step = step
        callback.on_log(args, state, control, logs={"loss": 1.0 / step}, model=None)
        assert state.global_step == step
    callback.on_train_end(args, state, control, model=None)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
@pytest.mark.usefixtures("stand_ins")
def test_steps_go_on_over_stages(name: str, tmp_path: Path) -> None:
    module: Any = importlib.import_module(name)
    for first, steps in ((0, 2), (2, 3)):
        (callback,) = tracker_callbacks([name], tmp_path, first)
        _stage(callback, tmp_path, steps)
    assert [row["train/global_step"] for row in module.rows] == [1, 2, 3, 4, 5]
    assert [row["train/loss"] for row in module.rows][2:4] == [1.0, 0.5]


def test_only_scalars_are_handed_on() -> None:
    """An upload at a save would look for folders that are written under other names."""
    handed = {name for name in vars(RunSteps) if name.startswith("on_")}
    assert handed == {"on_train_begin", "on_log", "on_train_end"}
