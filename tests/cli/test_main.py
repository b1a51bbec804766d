"""The edge of the process: sentences and exit codes instead of tracebacks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import pytest
import torch

from latentvr.cli.main import app, guarded
from latentvr.errors import Interrupted, LatentVRError, NonFiniteError, RecipeError


def _raising(error: BaseException) -> Callable[[], NoReturn]:
    def call() -> NoReturn:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RecipeError("one"), 2),
        (NonFiniteError("one"), 1),
        (LatentVRError("one"), 1),
        (Interrupted("one", 143), 143),
    ],
)
def test_own_errors_become_a_line(
    error: LatentVRError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(_raising(error)) == code
    assert capsys.readouterr() == ("", "error: one\n")


def test_several_lines_are_marked_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(_raising(RecipeError("one\ntwo"))) == 2
    assert capsys.readouterr().err == "error: one\nerror: two\n"


def test_out_of_memory_names_the_keys_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(_raising(torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB.\nmore"))) == 3
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    for part in (
        "Tried 2 GiB.",
        "train.batch_size",
        "eval.batch_size",
        "model.gradient_checkpointing",
        "model.max_pixels",
    ):
        assert part in text


def test_control_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(_raising(KeyboardInterrupt())) == 130
    assert "stopped" in capsys.readouterr().err


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        guarded(_raising(RuntimeError("a bug")))


def test_success_is_0() -> None:
    assert guarded(lambda: None) == 0


def test_who_asks_eval_about_usage_is_sent_to_diagnose(capsys: pytest.CaptureFixture[str]) -> None:
    ask = partial(app, args=["eval", "runs/x", "--usage"], standalone_mode=False)
    assert guarded(ask) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: expected latentvr diagnose")
    assert shown.err.endswith("; fix: latentvr diagnose runs/x\n")
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["tran"],
        ["train"],
        ["train", "x.yaml", "--no-such"],
        ["rl"],
        ["rl", "x.yaml", "--usage"],
        ["eval", "x", "--split", "train"],
        ["data", "preview", "x", "--count", "0"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "latentvr", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
