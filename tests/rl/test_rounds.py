"""How many rounds and optimiser steps a run of reinforcement has."""

from __future__ import annotations

import pytest

from latentvr.config.schema import Recipe, RLConfig, TrainConfig
from latentvr.rl.rounds import Rounds, rounds

TRAIN = TrainConfig(batch_size=4, gradient_accumulation=2)


@pytest.mark.parametrize(
    ("rl", "prompts", "ranks", "expected"),
    [
        (RLConfig(num_generations=4), 10, 1, Rounds(completions=8, prompts=2, updates=1, steps=5)),
        # A round that is not full counts whole.
        (RLConfig(num_generations=4), 11, 1, Rounds(completions=8, prompts=2, updates=1, steps=6)),
        (RLConfig(num_generations=4), 10, 2, Rounds(completions=8, prompts=4, updates=1, steps=3)),
        # Passes run on: 2 x 11 prompts are 11 rounds, not 2 x 6.
        (RLConfig(num_generations=4, epochs=2), 11, 1, Rounds(completions=8, prompts=2, updates=1, steps=11)),
        (
            RLConfig(num_generations=4, epochs=0.1),
            10,
            1,
            Rounds(completions=8, prompts=2, updates=1, steps=1),
        ),
        (
            RLConfig(num_generations=4, steps_per_generation=6, num_iterations=2),
            12,
            1,
            Rounds(completions=24, prompts=6, updates=6, steps=12),
        ),
        (RLConfig(num_generations=8, steps=3), 100, 1, Rounds(completions=8, prompts=1, updates=1, steps=3)),
    ],
)
def test_sizes(rl: RLConfig, prompts: int, ranks: int, expected: Rounds) -> None:
    assert rounds(Recipe(train=TRAIN, rl=rl), prompts, ranks) == expected
