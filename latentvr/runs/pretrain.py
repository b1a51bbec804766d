"""Make the tiny backbone: a small model that sees, from nothing, in minutes on one CPU thread."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from time import process_time
from typing import Any

import torch

from latentvr.attention.visibility import CAUSAL
from latentvr.config.pretrain import PretrainConfig, load_pretraining
from latentvr.config.schema import ModelConfig, ReasonerConfig
from latentvr.config.shipped import recipe_file
from latentvr.data.toy import PRETRAINING_TASKS, TASKS, corpus
from latentvr.errors import UserError
from latentvr.models import tiny
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import TINY_BACKBONE, attach
from latentvr.runs.phase_progress import PhaseProgress
from latentvr.runs.pretrain_language import answer_accuracy, train_answers
from latentvr.runs.pretrain_vision import cell_accuracy, train_vision

Counts = dict[str, tuple[int, int]]

RECIPE = "tiny_backbone.yaml"
REPORT = "pretraining.json"
#: Steps at the end of a phase over which its loss is averaged for the report.
LAST = 50
#: Steps between the lines that `rebuild` says.
TOLD_EVERY = 100


@dataclass(frozen=True)
class Pretraining:
    """What a pretraining run gives.

    Attributes:
        model: the trained model in float32, without latents.
        losses: loss of every step, by phase.
        seconds: CPU seconds of each phase.
        cells: (right, all) labels of visual tokens on validation scenes, by label.
        answers: (right, all) greedy answers on validation samples, by task.
    """

    model: LatentModel
    losses: dict[str, list[float]]
    seconds: dict[str, float]
    cells: Counts
    answers: Counts


def rebuild(out: Path, say: Callable[[str], None], overrides: Sequence[str] = ()) -> Path:
    """Pretrain the tiny backbone as `recipes/tiny_backbone.yaml` says; write it to `tiny-backbone` in `out`.

    Args:
        out: `latentvr/models/assets` of a source tree replaces the shipped weights.
        say: told what happens, a line at a time.
        overrides: `key=value` texts that beat the recipe.

    Returns:
        The model folder, a value for `model.path`.

    Raises:
        UserError: a key or value is wrong, or the folder holds files that are not a backbone made here.
    """
    settings = load_pretraining(recipe_file(RECIPE), overrides)
    folder = out / TINY_BACKBONE
    _refuse_other_files(folder)
    result = pretrain(settings, partial(_tell, say))
    save_backbone(result, settings, folder)
    for title, counts in (("labels of visual tokens", result.cells), ("greedy answers", result.answers)):
        say(f"{title}: " + ", ".join(f"{name} {right}/{total}" for name, (right, total) in counts.items()))
    say(f"tiny backbone: {folder}")
    return folder


def pretrain(settings: PretrainConfig, progress: PhaseProgress | None = None) -> Pretraining:
    """Train a tiny model in two phases and measure it; equal settings give equal weights.

    Args:
        settings: what is trained, and how long.
        progress: told after every step.

    Returns:
        The model and what was measured.

    Raises:
        UserError: there is no such family.
    """
    if settings.family not in tiny.FAMILIES:
        raise UserError(
            f"expected a tiny family of {', '.join(tiny.FAMILIES)}, got {settings.family!r}, at family; "
            "fix: use one of them"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        return _pretrain(settings, progress)
    finally:
        torch.set_num_threads(threads)


def save_backbone(result: Pretraining, settings: PretrainConfig, folder: Path) -> Path:
    """Write a model folder in float16, with the settings and figures in `pretraining.json`.

    Args:
        result: from `pretrain`.
        settings: those of the run.
        folder: made if missing.

    Returns:
        The same folder.

    Raises:
        UserError: the folder holds files that are not a backbone made here.
    """
    _refuse_other_files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stock = result.model.backbone.model.half()
    stock.save_pretrained(folder)
    stock.float()
    # safetensors writes files that their owner alone can read.
    (folder / "model.safetensors").chmod(0o644)
    result.model.processor.save(folder)
    text = json.dumps(report(result, settings), indent=2)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    return folder


def report(result: Pretraining, settings: PretrainConfig) -> dict[str, Any]:
    """Settings and figures of a run as plain data; counts are written as "right/all"."""
    return {
        "settings": dataclasses.asdict(settings),
        "final_loss": {name: round(fmean(losses[-LAST:]), 4) for name, losses in result.losses.items()},
        "cells": {name: f"{right}/{total}" for name, (right, total) in result.cells.items()},
        "answers": {name: f"{right}/{total}" for name, (right, total) in result.answers.items()},
    }


def _refuse_other_files(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / REPORT).is_file():
        raise UserError(
            f"expected a new folder or one of an earlier tiny backbone, got other files, at {str(folder)!r}; "
            "fix: choose another folder"
        )


def _tell(say: Callable[[str], None], phase: str, step: int, steps: int, loss: float) -> None:
    if step % TOLD_EVERY == 0 or step == steps:
        say(f"{phase}: step {step} of {steps}, loss {loss:.3f}")


def _pretrain(settings: PretrainConfig, progress: PhaseProgress | None) -> Pretraining:
    seed, n = settings.seed, settings.validation
    stock, processor = tiny.build(settings.family, corpus(), seed)
    config = ModelConfig(path=settings.family, dtype="float32", attention="mask")
    model = attach(stock, processor, config, ReasonerConfig(), [CAUSAL], seed)
    started = process_time()
    heads, vision = train_vision(model.backbone, processor, settings.vision, seed, progress)
    seen = process_time()
    cells = cell_accuracy(model.backbone, processor, heads, "validation", seed, n)
    answering = process_time()
    language = train_answers(model, settings.language, seed, progress)
    seconds = {"vision": seen - started, "language": process_time() - answering}
    answers = answer_accuracy(model, (*PRETRAINING_TASKS, *TASKS), "validation", seed, n)
    return Pretraining(model, {"vision": vision, "language": language}, seconds, cells, answers)
