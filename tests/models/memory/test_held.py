"""What is held all the time, against sums by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from latentvr.models.memory.answering import Answers, writing
from latentvr.models.memory.held import Held, Split, Trained, held, split_of
from latentvr.models.memory.shape import Shape, TextShape, VisionShape

TEXT = TextShape(
    layers=2, width=8, inner=16, query=8, key=4, heads=2, normed_heads=False, vocabulary=100, tied=True,
    linear=600,
)  # fmt: skip
VISION = VisionShape(layers=1, width=4, inner=8, gated=False, merge=4, levels=1, patch_values=12, linear=200)
#: 1000 parameters, 300 of them in the tower.
SHAPE = Shape(TEXT, VISION, 1000, 300)
LANGUAGE = Trained("language", own=10, adapters=None, adapted=0, weight_bytes=2, half=True)
ZERO = Path(__file__).parents[3] / "launchers" / "deepspeed"


def test_adapters_train_in_float32_beside_frozen_halves() -> None:
    lora = replace(LANGUAGE, kind="lora", adapted=50)
    assert held(SHAPE, lora, Split()) == Held(1000 * 2 + 60 * 4, 60 * 4, 60 * 8, 60 * 4)


def test_a_language_model_that_trains_takes_sixteen_bytes_per_parameter() -> None:
    whole = held(SHAPE, LANGUAGE, Split())
    assert whole == Held(300 * 2 + 710 * 4, 710 * 4, 710 * 8, 710 * 4)
    assert held(SHAPE, LANGUAGE, Split(processes=2)).gradients == 2 * whole.gradients


def test_zero_splits_what_its_stage_says() -> None:
    whole = held(SHAPE, LANGUAGE, Split())
    second = held(SHAPE, LANGUAGE, Split(2, 4, bucket=64))
    assert second.weights == whole.weights
    assert second.gradients == whole.gradients // 4 + 64 * 4
    assert second.optimizer == 710 * 12 // 4
    third = held(SHAPE, LANGUAGE, Split(3, 4, bucket=64, live=0))
    assert third.weights == 300 * 2 + 710 * 4 // 4
    away = held(SHAPE, LANGUAGE, Split(3, 4, optimizer_away=True, weights_away=True, bucket=64, live=0))
    assert (away.weights, away.optimizer, away.stepping) == (300 * 2, 0, 0)


@pytest.mark.parametrize(
    ("name", "stage", "away"), [("zero2", 2, False), ("zero3", 3, False), ("zero3_offload", 3, True)]
)
def test_the_shipped_settings_are_read(name: str, stage: int, away: bool) -> None:
    found = split_of(str(ZERO / f"{name}.json"), 8)
    assert (found.stage, found.processes, found.optimizer_away, found.weights_away) == (stage, 8, away, away)


def test_the_cache_of_answers() -> None:
    """2 layers x 6 rows x (10 + 5) tokens x keys and values of 4 numbers, in halves, or in float32."""
    answers = Answers(rows=6, prompts=2, prompt=10, new=5, whole=True)
    lora = replace(LANGUAGE, kind="lora", adapted=50)
    found = writing("rollouts", SHAPE, lora, held(SHAPE, lora, Split()), answers)
    assert found.cache == 2 * 6 * 15 * 2 * 4 * 2
    assert found.gradients == 0
    wide = writing("rollouts", SHAPE, LANGUAGE, held(SHAPE, LANGUAGE, Split()), answers)
    assert wide.cache == 2 * found.cache
