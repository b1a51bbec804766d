"""Four samples at once, or one by one: the same losses and weights.

Breaks when: a term is averaged per micro-batch, the trainer divides by the number of micro-batches, or
padding is counted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.config.load import load
from latentvr.runs.sft import build_model_and_data, stage_runs, train_stage
from latentvr.trainers.signals import StopRequest

SETTINGS = [
    "reasoner.name=livr", "reasoner.latents=4", "model.path=tiny-qwen3-vl", "model.dtype=float32",
    "model.lora.dropout=0", "data.source=toy", "data.tasks=[counting_class, jigsaw]", "data.toy.train=6",
    "stages.bottleneck.epochs=1", "stages.causal.epochs=0", "train.device=cpu", "optim.learning_rate=1e-3",
    "optim.eps=1e-5", "optim.warmup=0", "log.every=1",
]  # fmt: skip


def _train(folder: Path, *overrides: str) -> tuple[list[float], dict[str, Tensor]]:
    """Losses per step and trained weights of a stage of three optimiser steps."""
    recipe = load(None, [*SETTINGS, *overrides]).recipe
    model, data = build_model_and_data(recipe)
    run: Any = stage_runs(recipe, len(data))[0]
    train_stage(model, recipe, run, folder, data, None, StopRequest(), None)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    return [row["loss"] for row in rows], weights


@pytest.mark.parametrize("kind", ["lora", "language"])
@pytest.mark.parametrize("attention", ["two_pass", "mask"])
def test_how_a_step_is_cut_changes_nothing(kind: str, attention: str, tmp_path: Path) -> None:
    found = {}
    for size, accumulation in ((4, 1), (2, 2), (1, 4)):
        folder = tmp_path / f"{size}x{accumulation}"
        folder.mkdir()
        found[size] = _train(
            folder,
            f"optim.trainable={kind}",
            f"model.attention={attention}",
            f"train.batch_size={size}",
            f"train.gradient_accumulation={accumulation}",
        )
    losses, weights = found[4]
    assert len(losses) == 3
    assert losses[0] != losses[2]
    for size in (2, 1):
        assert found[size][0] == pytest.approx(losses, abs=1e-5)
        other = found[size][1]
        assert max(float((other[name] - value).abs().max()) for name, value in weights.items()) < 1e-5


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    found = []
    for on in ("false", "true"):
        (tmp_path / on).mkdir()
        found.append(_train(tmp_path / on, f"model.gradient_checkpointing={on}", "train.batch_size=4"))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert all(torch.allclose(found[0][1][name], value, atol=1e-6) for name, value in found[1][1].items())
