"""Training on packed rows is training on their samples, and goes on where it stopped.

Breaks when: a term is averaged over rows, the rows of an epoch are not those of the run that is resumed, the
steps of a stage are counted in samples, or a model with the kernel of packed rows cannot answer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from latentvr.config.load import load
from latentvr.runs.packing import staged
from latentvr.runs.sft import build_model_and_data, stage_runs, train, train_stage
from latentvr.trainers.signals import StopRequest

SETTINGS = [
    "model.path=tiny-qwen3-vl", "model.dtype=float32", "model.lora.dropout=0", "data.source=toy",
    "data.tasks=[counting_class, jigsaw]", "data.toy.train=6", "data.toy.validation=2", "train.device=cpu",
    "optim.learning_rate=1e-3", "optim.eps=1e-5", "optim.warmup=0", "log.every=1", "log.samples=true",
]  # fmt: skip
PACKED = ["data.packing=true", "data.pack_length=260", "data.pack_window=7"]
METHODS = {
    "bottleneck": ["reasoner.name=livr", "reasoner.latents=4", "stages.causal.epochs=0"],
    "spans": ["reasoner.name=lvr"],
}


def _train(folder: Path, *overrides: str) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Rows of the log and trained weights of a stage of two optimiser steps."""
    folder.mkdir()
    stage = "bottleneck" if "reasoner.name=livr" in overrides else "sft"
    recipe = load(None, [*SETTINGS, f"stages.{stage}.steps=2", *overrides]).recipe
    model, data = build_model_and_data(recipe)
    items = staged(recipe, data)
    (run,) = stage_runs(recipe, items.count)
    train_stage(model, recipe, run, folder, items, None, StopRequest(), None)
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return log, {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("method", METHODS)
def test_an_optimiser_step_on_the_same_samples_is_the_same(method: str, tmp_path: Path) -> None:
    """All samples in one padded batch, and all rows two by two."""
    rows, wanted = _train(tmp_path / "padded", *METHODS[method], "train.batch_size=12",
                          "train.gradient_accumulation=1")  # fmt: skip
    packed, found = _train(tmp_path / "packed", *METHODS[method], *PACKED, "train.batch_size=2",
                           "train.gradient_accumulation=20")  # fmt: skip
    assert [row["loss"] for row in packed] == pytest.approx([row["loss"] for row in rows], abs=1e-5)
    assert packed[0]["grad_norm"] == pytest.approx(rows[0]["grad_norm"], rel=1e-4)
    assert sorted(packed[0]["samples"]) == sorted(rows[0]["samples"])
    assert max(float((found[k] - value).abs().max()) for k, value in wanted.items()) < 1e-5
    assert rows[0]["loss"] != rows[1]["loss"]


def test_a_run_goes_on_inside_an_epoch_bit_by_bit(tmp_path: Path) -> None:
    """From a save in the first stage; both stages, validation and all files of the last checkpoint count."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    settings = [
        *SETTINGS, *PACKED, "reasoner.name=livr", "reasoner.latents=4", "stages.bottleneck.epochs=2",
        "stages.causal.epochs=1", "train.batch_size=1", "train.gradient_accumulation=2",
        "train.save_steps=3", "train.save_limit=20", "decode.max_new_tokens=2",
    ]  # fmt: skip
    train(load(None, [*settings, f"train.output_dir={whole}"]))
    shutil.copytree(whole, again, symlinks=True)
    checkpoints = sorted((again / "checkpoints").iterdir(), key=lambda path: path.name)
    kept = again / "checkpoints" / "step-3"
    for path in (path for path in checkpoints if path != kept):
        path.unlink() if path.is_symlink() else shutil.rmtree(path)
    train(load(None, [*settings, f"train.output_dir={again}"]), resume=True)
    log = (whole / "metrics.jsonl").read_text()
    assert (again / "metrics.jsonl").read_text() == log
    steps = [json.loads(line) for line in log.splitlines()]
    assert steps[2]["epoch"] == 1.5
    assert any("validation_accuracy" in row for row in steps)
    epoch = [name for row in steps[:2] for name in row["samples"]]
    assert len(epoch) == len(set(epoch)) == 12
    for file in (whole / "checkpoints" / "last").iterdir():
        if file.name != "complete.json":
            assert (again / "checkpoints" / "last" / file.name).read_bytes() == file.read_bytes(), file.name


def test_steps_count_the_rows_of_each_stage() -> None:
    recipe = load(None, [*SETTINGS, *PACKED, "reasoner.name=livr", "train.batch_size=2"]).recipe
    recipe.train.gradient_accumulation = 1
    runs = stage_runs(recipe, (7, 4).__getitem__, ranks=2)
    assert [(run.index, run.steps) for run in runs] == [(0, 4 * 2), (1, 6 * 1)]
