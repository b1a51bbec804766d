"""LLaVA-OneVision-1.5 through the command line: train by both methods, break off, go on, load, answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import latentvr as library
from latentvr.data.toy import Toy

SMALL = [
    "model.path=tiny-llava-ov-1.5", "data.toy.train=24", "data.toy.validation=4", "train.batch_size=8",
    "train.keep=last", "decode.max_new_tokens=3", "log.every=1",
]  # fmt: skip
KINDS: dict[str, list[str]] = {
    "latents in the prompt": [
        "recipes/livr_tiny.yaml", "optim.trainable=lora", "stages.bottleneck.epochs=1",
        "stages.causal.epochs=2",
    ],
    "latents in the answer": [
        "recipes/lvr_tiny.yaml", "optim.trainable=language", "stages.first.epochs=1",
        "stages.second.epochs=2",
    ],
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, latentvr: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = [*KINDS[request.param], *SMALL]
    done = latentvr("train", *arguments, f"train.output_dir={folder}")
    assert done.code == 0, done.err
    return folder, arguments


def test_the_loss_falls_and_the_model_answers(run: Any) -> None:
    folder, _ = run
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["ce"] for row in rows if "loss" in row]
    assert len(losses) == 9
    assert losses[-1] < 0.8 * losses[0]
    source = Toy(["counting"], "test", 1, seed=1)
    (record,) = source.records
    model = library.load(folder)
    assert model.model.backbone.model.config.model_type == "llavaonevision1_5"
    assert model.generate(record.prompt, source.images(record)).ids


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_weights(run: Any, latentvr: Any, tmp_path: Path) -> None:
    # Breaks if something of this family alone is not in a checkpoint.
    folder, arguments = run
    killed = latentvr(
        "train", *arguments, f"train.output_dir={tmp_path / 'run'}", "train.save_steps=2",
        kill=("open", "metrics.jsonl", 6),
    )  # fmt: skip
    assert killed.code == -9
    done = latentvr(
        "train", *arguments, f"train.output_dir={tmp_path / 'run'}", "train.save_steps=2", "--resume"
    )
    assert done.code == 0, done.err
    for file in (folder / "checkpoints" / "last").glob("*.safetensors"):
        wanted, found = load_file(file), load_file(tmp_path / "run" / "checkpoints" / "last" / file.name)
        assert wanted.keys() == found.keys()
        assert all(torch.equal(found[name], value) for name, value in wanted.items())
