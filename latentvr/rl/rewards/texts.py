"""A round of rollouts as reward functions see it: conversations, and columns of the records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from latentvr.data.record import Record, Source
from latentvr.evaluation.math import boxed
from latentvr.rl.rewards.context import RewardContext

Message = dict[str, str]
#: Names that a key of `meta` cannot take.
TAKEN = frozenset({*(f.name for f in fields(Record)), "prompts", "completions", "completion_ids", "context"})


def prompts(context: RewardContext) -> list[list[Message]]:
    """The prompts as TRL's conversations of one user message."""
    return [[{"role": "user", "content": record.prompt}] for record in context.records]


def completions(context: RewardContext) -> list[list[Message]]:
    """The completions as TRL's conversations of one assistant message, without special tokens."""
    tokenizer = context.model.processor.tokenizer
    texts = [tokenizer.decode(rollout.ids, skip_special_tokens=True) for rollout in context.rollouts]
    return [[{"role": "assistant", "content": text}] for text in texts]


def shared_keys(source: Source) -> list[str]:
    """The keys of `meta` that become columns, sorted: those of all records of a source, not of a round alone.

    A key that only some records have would be a column of some rounds, and fail in another, hours later.
    """
    metas = [record.meta for record in source.records]
    return sorted(set.intersection(*map(set, metas)) - TAKEN) if metas else []


def column_names(keys: Sequence[str]) -> set[str]:
    """Names of all that reward functions get, given the keys of `meta` among it."""
    return {*TAKEN, "solution", *keys}


def columns(context: RewardContext, keys: Sequence[str]) -> dict[str, Any]:
    """What reward functions get by name, beside prompts and completions.

    Args:
        context: of the round.
        keys: of `meta`, from `shared_keys` of the source.

    Returns:
        Lists with one entry for each completion: every field of `Record`, these keys of `meta`, `solution`
        for TRL's functions (the data set's own column where it has one, else the answer, a mathematical one
        in a box) and `completion_ids`, latent slots included. `context` is the round itself.
    """
    records = context.records
    return {
        "solution": [_solution(record) for record in records],
        **{key: [record.meta[key] for record in records] for key in keys},
        **{f.name: [getattr(record, f.name) for record in records] for f in fields(Record)},
        "completion_ids": [rollout.ids for rollout in context.rollouts],
        "context": context,
    }


def _solution(record: Record) -> str:
    """The answer as TRL's `accuracy_reward` takes it: bare LaTeX would be read as its first number."""
    marked = boxed(record.answer) if record.answer_type == "math" else None
    return record.answer if marked is None else marked
