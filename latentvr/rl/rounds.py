"""How a run of reinforcement is laid out: rounds of rollouts, and the optimiser steps on each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentvr.config.rl_rules import buffer_passes
from latentvr.config.schema import Recipe


@dataclass(frozen=True)
class Rounds:
    """Sizes of a run; a round fills the buffer of every rank and trains on it.

    Attributes:
        completions: drawn by each rank in a round.
        prompts: of all ranks in a round, `rl.num_generations` completions each.
        updates: optimiser steps on each buffer.
        steps: optimiser steps of the run.
    """

    completions: int
    prompts: int
    updates: int
    steps: int


def rounds(recipe: Recipe, prompts: int, ranks: int = 1) -> Rounds:
    """Lay a run out over `prompts` training records.

    Rounds follow each other through the passes, so that one may hold the last prompts of a pass and the
    first of the next; the last round of the run is filled up in the same way.

    Args:
        recipe: all settings, checked.
        prompts: number of training records.
        ranks: number of processes.

    Returns:
        The sizes.
    """
    rl, passes = recipe.rl, buffer_passes(recipe)
    completions = recipe.train.batch_size * passes
    per_round = completions * ranks // rl.num_generations
    updates = passes // recipe.train.gradient_accumulation * rl.num_iterations
    whole = math.ceil(rl.epochs * prompts / per_round) * updates
    return Rounds(completions, per_round, updates, whole if rl.steps is None else rl.steps)
