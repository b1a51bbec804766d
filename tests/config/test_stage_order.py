"""What trains may grow from stage to stage, never shrink: a checkpoint would lose earlier weights."""

from __future__ import annotations

import pytest

from latentvr.config.load import load
from latentvr.config.rules import check

TOY = ["data.source=toy", "reasoner.name=livr", "train.output_dir=no/such/folder"]


@pytest.mark.parametrize("first", ["lora", "tokens", "language"])
@pytest.mark.parametrize("second", ["lora", "tokens", "language"])
def test_after_language_comes_language(first: str, second: str) -> None:
    kinds = [f"stages.bottleneck.trainable={first}", f"stages.causal.trainable={second}"]
    problems = [(p.key, p.message) for p in check(load(None, TOY + kinds))]
    if first != "language" or second == "language":
        assert problems == []
    else:
        assert problems == [
            (
                "stages.causal.trainable",
                f"expected language after a stage that trains the language model, got {second}; "
                "fix: set it to language, or move the stage before the other",
            )
        ]
