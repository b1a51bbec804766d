"""A step in bfloat16 on the CPU: finite losses near those of float32, and weights that move.

Breaks when: something is summed in half precision, a kernel meets two number formats, or a small gradient is
rounded away.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from latentvr.config.load import load
from latentvr.runs.sft import build_model_and_data, stage_runs, train_stage
from latentvr.trainers.signals import StopRequest

SETTINGS = [
    "model.path=tiny-qwen2.5-vl", "data.source=toy", "data.tasks=[counting]", "data.toy.train=4",
    "train.device=cpu", "train.batch_size=4", "train.gradient_accumulation=1", "optim.learning_rate=1e-2",
    "optim.warmup=0", "log.every=1", "model.lora.dropout=0",
]  # fmt: skip
METHODS = {
    "livr": [
        "reasoner.name=livr", "reasoner.latents=4", "stages.bottleneck.steps=2", "stages.causal.epochs=0",
    ],
    "lvr": ["reasoner.name=lvr", "stages.sft.steps=2"],
}  # fmt: skip


def _steps(folder: Path, *overrides: str) -> tuple[list[dict[str, Any]], float]:
    """The metrics of two steps, and how far trained weights went."""
    folder.mkdir()
    recipe = load(None, [*SETTINGS, *overrides]).recipe
    model, data = build_model_and_data(recipe)
    run: Any = stage_runs(recipe, len(data))[0]
    rows_before = None if model.rows is None else model.rows.rows.detach().clone()
    train_stage(model, recipe, run, folder, data, None, StopRequest(), None)
    moved = 0.0 if rows_before is None else float((model.rows.rows.detach() - rows_before).abs().max())  # type: ignore[union-attr]
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row], moved


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_trains_as_single_does(method: str, tmp_path: Path) -> None:
    whole, far = _steps(tmp_path / "single", *METHODS[method], "model.dtype=float32")
    half, other = _steps(tmp_path / "half", *METHODS[method], "model.dtype=bfloat16")
    terms = [name for name in whole[0] if name in ("loss", "ce", "mse")]
    assert terms
    for found, wanted in zip(half, whole, strict=True):
        for name in terms:
            assert torch.isfinite(torch.tensor(found[name]))
            assert found[name] == pytest.approx(wanted[name], rel=2e-2)
    assert half[0]["loss"] != half[1]["loss"]
    assert other == pytest.approx(far, rel=0.2)
    assert far > 0
