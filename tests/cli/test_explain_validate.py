"""`explain` and `validate` from a shell: output, exit codes and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from latentvr.config.explain import docs_reference


def _latentvr(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "latentvr", *arguments], capture_output=True, text=True, check=False
    )


def test_a_wrong_recipe_gives_a_line_per_mistake_and_code_2(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("optim:\n  learning_rat: 1\ntrain: {batch_size: x}\n")
    done = _latentvr("validate", str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {path}:2 optim.learning_rat: unknown key; did you mean optim.learning_rate?\n"
        f"error: {path}:3 train.batch_size: expected a whole number, got 'x'; "
        "fix: write digits alone, such as 8\n"
    )


def test_a_good_recipe_is_valid_and_its_missing_data_noted(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("data: {train: no/such.jsonl}\ntrain: {keep: last, output_dir: no/such}\n")
    done = _latentvr("validate", str(path), "stages.causal.epochs=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"note: {path}:1 data.train: expected a file or folder, got nothing at no/such.jsonl; "
        "fix: check the path",
        f"{path}: valid; reasoner direct, stages causal",
    ]


def test_a_recipe_with_rewards_is_checked_for_both_kinds_of_training(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "data: {source: toy}\ntrain: {output_dir: no/such}\n"
        "rl:\n  rewards: [accuracy]\n  reward_weights: [0]\n"
    )
    done = _latentvr("validate", str(path), "model.lora.dropout=0")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {path}:5 rl.reward_weights: expected a weight other than 0, got [0.0]; "
        "fix: raise one, or leave the key out\n"
    )
    done = _latentvr("validate", str(path), "model.lora.dropout=0", "rl.reward_weights=[]")
    assert done.stdout == f"{path}: valid; reasoner direct, stages causal, rewards accuracy\n"


def test_overrides_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("data: {source: toy}\n")
    done = _latentvr("validate", str(path), "train.output_dir=no/such", "train.batch_size=0")
    assert done.returncode == 2
    assert done.stderr.startswith("error: command line train.batch_size: expected at least 1, got 0")


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["train.seed"], "train.seed"),
        (["train"], "train: Run."),
        ([], "All settings of a run."),
    ],
)
def test_explain(arguments: list[str], first: str) -> None:
    done = _latentvr("explain", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == first


def test_explain_an_unknown_key() -> None:
    done = _latentvr("explain", "model.lora.rank")
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: expected a key of the recipe, got 'model.lora.rank'; did you mean model.lora.r?\n"
    )


def test_the_reference_is_printed_as_it_is() -> None:
    assert _latentvr("explain", "--markdown").stdout == docs_reference()
