"""A device without enough memory: one sentence that says where, and which keys to change to what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from latentvr.cli import eval as eval_verb
from latentvr.cli import rl as rl_verb
from latentvr.cli import train as train_verb
from latentvr.cli.arguments import Start
from latentvr.cli.main import guarded

HERE = Path(__file__).parent
SMALL = [
    "data.toy.train=8", "data.toy.validation=2", "data.toy.test=2", "train.batch_size=4",
    "train.gradient_accumulation=2", "data.feature_cache=off", "train.validate_epochs=0", "train.keep=last",
]  # fmt: skip
ONE_STAGE = [*SMALL, "stages.bottleneck.steps=2", "stages.causal.epochs=0", "train.save_steps=1"]
MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB."


def layers(wanted: Callable[[], bool]) -> Callable[..., None]:
    """A hook on all modules, at which a layer of the text decoder finds no memory."""

    def hook(module: nn.Module, *_: Any) -> None:
        if type(module).__name__.endswith("DecoderLayer") and wanted():
            raise torch.OutOfMemoryError(MESSAGE)

    return hook


@contextmanager
def no_memory(where: str, after: int = 0) -> Iterator[None]:
    """No memory is left in a phase, after so many calls of the first layer or optimiser steps."""
    seen = [0]

    def wanted() -> bool:
        seen[0] += 1
        return seen[0] > after

    def stepped(*_: Any) -> None:
        if wanted():
            raise torch.OutOfMemoryError(MESSAGE)

    def in_backward(module: nn.Module, _: Any, output: Any) -> None:
        if type(module).__name__.endswith("DecoderLayer"):
            output.register_hook(stepped)

    handle: Any
    if where == "step":
        handle = register_optimizer_step_post_hook(stepped)
    elif where == "backward":
        handle = register_module_forward_hook(in_backward)
    elif where == "rollout":
        handle = register_module_forward_pre_hook(layers(lambda: not torch.is_grad_enabled()))
    else:
        handle = register_module_forward_pre_hook(layers(wanted))
    try:
        yield
    finally:
        handle.remove()


def train(folder: Path, *settings: str, resume: bool = False) -> Callable[[], None]:
    overrides = [*ONE_STAGE, f"train.output_dir={folder}", *settings]
    return lambda: train_verb.run(HERE / "tiny.yaml", overrides, Start(resume=resume))


@pytest.mark.parametrize(
    ("where", "phase"),
    [("forward", "the forward pass"), ("backward", "the backward pass"), ("step", "the optimiser's step")],
)
def test_training_names_phase_batch_and_keys(
    where: str, phase: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks when: the phase is not told from others, or values are not those that follow from the recipe."""
    with no_memory(where):
        assert guarded(train(tmp_path / "run")) == 3
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert (
        f"memory enough for {phase} of stage 'bottleneck', got none left for the 2.00 GiB asked for" in line
    )
    assert "a batch of 4 rows x " in line
    assert ", 4 images of 256 patches, " in line  # 64 x 64 pixels each, patches of 8 x 8
    assert " labels; fix: set model.gradient_checkpointing=true, or train.batch_size=2 with " in line
    assert "train.gradient_accumulation=4" in line
    assert "--resume" not in line  # nothing is saved yet


def test_nothing_that_was_saved_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks when: the run cannot go on, or not with the key that the sentence names."""
    run = tmp_path / "run"
    with no_memory("step", after=1):
        assert guarded(train(run)) == 3
    assert "; step-1 is saved: --resume goes on from it" in capsys.readouterr().err
    assert guarded(train(run, "model.gradient_checkpointing=true", resume=True)) == 0
    assert (run / "checkpoints" / "step-2").is_dir()


def test_rollouts_name_their_own_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [
        f"train.output_dir={tmp_path / 'run'}", "rl.steps=1", "train.validate_epochs=0",
        "reasoner.name=livr", "model.path=tiny-qwen2.5-vl", "model.lora.dropout=0",
    ]  # fmt: skip
    with no_memory("rollout"):
        assert guarded(lambda: rl_verb.run(HERE / "rl_tiny.yaml", settings, Start())) == 3
    line = capsys.readouterr().err
    assert "memory enough for rollouts, got none left for the 2.00 GiB asked for" in line
    assert "at a batch of 8 rows x " in line  # 2 prompts x 4 completions
    assert "fix: set rl.rollout_batch_size=4, or decode.max_new_tokens=7" in line


def test_evaluation_names_its_own_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert guarded(train(run)) == 0
    capsys.readouterr()
    answers: dict[str, Any] = {"data": None, "split": "test", "bench": "", "style": None, "out": None}
    with no_memory("forward"):
        assert guarded(lambda: eval_verb.run(run, ["eval.batch_size=2"], **answers)) == 3
    line = capsys.readouterr().err
    assert (
        "memory enough for evaluation, got none left for the 2.00 GiB asked for, at a batch of 2 rows" in line
    )
    assert "fix: set eval.batch_size=1, or " in line
    assert guarded(lambda: eval_verb.run(run, ["eval.batch_size=2"], **answers)) == 0
