"""A checkpoint that writes latent spans, and one that has its latents in the prompt, for the harnesses."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def span_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose answers open latent spans and are wrapped in `<answer>`."""
    from latentvr.config.load import load
    from latentvr.runs.sft import train

    folder = tmp_path_factory.mktemp("span_checkpoint") / "run"
    more = ["stages.sft.steps=40", "optim.learning_rate=3e-3", "data.toy.train=64", "train.batch_size=16",
            "train.gradient_accumulation=1", "optim.warmup=0.1", "train.validate_epochs=0",
            "decode.max_new_tokens=24", f"train.output_dir={folder}"]  # fmt: skip
    train(load(ROOT / "tests" / "e2e" / "rl_tiny.yaml", more))
    return folder
