"""The whole line through the command line: train two stages, evaluate, answer one question."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SMALL = [
    "model.path=tiny-qwen2.5-vl",
    "data.toy.train=24",
    "data.toy.validation=8",
    "data.toy.test=8",
    "stages.bottleneck.epochs=1",
    "stages.causal.epochs=2",
    "train.batch_size=8",
    "log.every=1",
]


def latentvr(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "latentvr", *args], capture_output=True, text=True)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "livr"
    done = latentvr("train", "recipes/livr_tiny.yaml", *SMALL, f"train.output_dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def test_training_writes_the_run_folder(run_folder: Path) -> None:
    for name in ("recipe.yaml", "resolved.yaml", "manifest.json", "metrics.jsonl", "checkpoints/best"):
        assert (run_folder / name).exists(), name


def test_both_stages_are_logged_and_the_loss_falls(run_folder: Path) -> None:
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    assert [row["step"] for row in losses] == list(range(1, 10))
    assert [row["stage"] for row in losses] == ["bottleneck"] * 3 + ["causal"] * 6
    assert losses[-1]["ce"] < losses[0]["ce"]


def test_evaluation_counts_every_record(run_folder: Path) -> None:
    done = latentvr("eval", str(run_folder))
    assert done.returncode == 0, done.stderr
    rows = (run_folder / "eval" / "test" / "predictions.jsonl").read_text().splitlines()
    assert len(rows) == 8
    assert "/8" in done.stdout


def test_one_question_gets_an_answer(run_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "x.png")
    done = latentvr(
        "generate", str(run_folder), "--image", str(tmp_path / "x.png"), "how many ?", "--show-latents"
    )
    assert done.returncode == 0, done.stderr
    assert "8 latents" in done.stdout
