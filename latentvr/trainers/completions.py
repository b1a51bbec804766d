"""Rows of `completions.jsonl`: what was written, with its rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from latentvr.data.record import Record
from latentvr.rl.round import Round


def completion_rows(
    made: Round,
    records: Sequence[Record],
    names: Sequence[str],
    tokenizer: Any,
    many: int,
    step: int,
    group: int,
) -> list[dict[str, Any]]:
    """Describe some completions of a round: the first of each group, then the second of each, and so on.

    Args:
        made: the round.
        records: of its completions.
        names: of the reward functions.
        tokenizer: turns ids into text; special tokens are kept.
        many: how many, at most.
        step: optimiser step of the run.
        group: completions per prompt, side by side.

    Returns:
        A row per completion, in that order; a reward that does not apply is null.
    """
    rows = []
    places = [place for first in range(group) for place in range(first, len(records), group)]
    for i in places[:many]:
        record, rollout = records[i], made.rollouts[i]
        values = made.rewards_BF[i].tolist()
        rows.append(
            {
                "step": step,
                "id": record.id,
                "prompt": record.prompt,
                "answer": record.answer,
                "completion": tokenizer.decode(rollout.ids, skip_special_tokens=False),
                "rewards": {n: None if math.isnan(v) else v for n, v in zip(names, values, strict=True)},
                "reward": float(made.combined_B[i]),
                "advantage": float(made.advantages_B[i]),
                "latent_steps": len(rollout.fed),
                "finish": rollout.finish,
            }
        )
    return rows
