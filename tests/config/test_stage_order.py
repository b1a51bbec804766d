"""What trains may grow from stage to stage, never shrink: a checkpoint would lose earlier weights."""

from __future__ import annotations

import pytest

from latentvr.config.load import load
from latentvr.config.rules import check

TOY = ["data.source=toy", "reasoner.name=livr", "train.output_dir=no/such/folder"]


@pytest.mark.parametrize("first", ["lora", "tokens", "language", "all"])
@pytest.mark.parametrize("second", ["lora", "tokens", "language", "all"])
def test_after_whole_weights_come_whole_weights(first: str, second: str) -> None:
    kinds = [f"stages.bottleneck.trainable={first}", f"stages.causal.trainable={second}"]
    problems = [(p.key, p.message) for p in check(load(None, TOY + kinds))]
    whole = ("language", "all")
    if first not in whole or second in whole:
        assert problems == []
    else:
        assert problems == [
            (
                "stages.causal.trainable",
                f"expected language or all after a stage that trains the language model, got {second}; "
                "fix: set it to language, or move the stage before the other",
            )
        ]


@pytest.mark.parametrize("where", ["optim.trainable", "stages.causal.trainable"])
def test_cached_features_of_a_tower_that_trains_are_refused(where: str) -> None:
    recipe = [*TOY, f"{where}=all", "data.feature_cache=memory"]
    stage = "bottleneck" if where.startswith("optim") else "causal"
    assert [(p.key, p.message) for p in check(load(None, recipe))] == [
        (
            "data.feature_cache",
            "expected off where a stage trains the vision tower, got memory with "
            f"stages.{stage}.trainable=all; fix: set data.feature_cache=off, or train language",
        )
    ]
    assert check(load(None, [*TOY, f"{where}=language", "data.feature_cache=memory"])) == []
