"""What reinforcement begins with, and what its checkpoints stand on afterwards.

Breaks when: prompts have to bring what only answers in training data need, one verb goes on with the other's
run, or a checkpoint that holds all weights asks for the one that it began with.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

RECIPE = "tests/e2e/rl_tiny.yaml"
LORA = ["optim.trainable=lora", "model.lora.dropout=0"]
SHORT = ["rl.steps=1", "stages.sft.steps=1"]


def _records(folder: Path) -> Path:
    """Questions without images and without boxes."""
    rows = [
        {"id": f"q{i}", "task": "digit_at_mark", "split": "train", "images": [], "question": "",
         "choices": [], "prompt": "how many digits are there ?", "answer": str(i % 3),
         "answer_type": "number", "bboxes": [], "meta": {}}
        for i in range(4)
    ]  # fmt: skip
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_prompts_need_no_regions_and_no_images(latentvr: Any, span_model: Path, tmp_path: Path) -> None:
    data = ["data.source=records", f"data.train={_records(tmp_path)}", "train.validate_epochs=0"]
    settings = [*data, *SHORT, f"model.path={span_model}", f"train.output_dir={tmp_path / 'run'}"]
    done = latentvr("rl", RECIPE, *settings)
    assert done.code == 0, done.err


@pytest.mark.parametrize(("first", "second"), [("train", "rl"), ("rl", "train")])
def test_one_verb_does_not_go_on_with_the_others_run(
    first: str, second: str, latentvr: Any, tmp_path: Path
) -> None:
    settings = [*SHORT, f"train.output_dir={tmp_path / 'run'}"]
    done = latentvr(first, RECIPE, *settings)
    assert done.code == 0, done.err
    done = latentvr(second, RECIPE, *settings, "--resume")
    assert done.code == 2
    assert "expected a checkpoint of stage" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("kind", ["lora", "language"])
def test_checkpoints_stand_on_the_backbone_alone(kind: str, latentvr: Any, tmp_path: Path) -> None:
    """The start was given relative to the working folder, and is gone afterwards."""
    start, run = tmp_path / "sft", tmp_path / "rl"
    trains = LORA if kind == "lora" else [f"optim.trainable={kind}"]
    done = latentvr("train", RECIPE, *SHORT, *LORA, f"train.output_dir={start}")
    assert done.code == 0, done.err
    done = latentvr("rl", RECIPE, *SHORT, *trains, f"model.path={start}", f"train.output_dir={run}")
    assert done.code == 0, done.err
    before = latentvr("eval", str(run), "--out", str(tmp_path / "before"))
    shutil.rmtree(start)
    after = latentvr("eval", str(run), "--out", str(tmp_path / "after"))
    assert (before.code, after.code) == (0, 0), after.err
    texts = [(tmp_path / name / "predictions.jsonl").read_text() for name in ("before", "after")]
    assert texts[0] == texts[1]


def test_a_start_that_is_no_checkpoint_is_refused(latentvr: Any, tmp_path: Path) -> None:
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    run = f"train.output_dir={tmp_path / 'run'}"
    done = latentvr("rl", RECIPE, *SHORT, f"model.path={tmp_path / 'empty'}", run)
    assert done.code == 2
    assert "expected a run with checkpoints" in done.err
    assert "Traceback" not in done.err
