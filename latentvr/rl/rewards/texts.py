"""A round of rollouts as reward functions see it: conversations, and columns of the records."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from latentvr.data.record import Record
from latentvr.evaluation.math import boxed
from latentvr.rl.rewards.context import RewardContext

Message = dict[str, str]


def prompts(context: RewardContext) -> list[list[Message]]:
    """The prompts as TRL's conversations of one user message."""
    return [[{"role": "user", "content": record.prompt}] for record in context.records]


def completions(context: RewardContext) -> list[list[Message]]:
    """The completions as TRL's conversations of one assistant message, without special tokens."""
    tokenizer = context.model.processor.tokenizer
    texts = [tokenizer.decode(rollout.ids, skip_special_tokens=True) for rollout in context.rollouts]
    return [[{"role": "assistant", "content": text}] for text in texts]


def columns(context: RewardContext) -> dict[str, Any]:
    """What reward functions get by name, beside prompts and completions.

    Args:
        context: of the round.

    Returns:
        Lists with one entry for each completion: every field of `Record`, every key of `meta` that all
        records have and that is no field, `solution` for TRL's functions (the data set's own column where it
        has one, else the answer, a mathematical one in a box) and `completion_ids`, latent slots included.
        `context` is the round itself.
    """
    records = context.records
    of_records = {f.name: [getattr(record, f.name) for record in records] for f in fields(Record)}
    shared = set.intersection(*(set(record.meta) for record in records)) if records else set()
    of_meta = {key: [record.meta[key] for record in records] for key in sorted(shared)}
    given = {
        **of_records,
        "completion_ids": [rollout.ids for rollout in context.rollouts],
        "context": context,
    }
    taken = {*given, "prompts", "completions"}
    of_meta = {key: values for key, values in of_meta.items() if key not in taken}
    return {"solution": [_solution(record) for record in records], **of_meta, **given}


def _solution(record: Record) -> str:
    """The answer as TRL's `accuracy_reward` takes it: bare LaTeX would be read as its first number."""
    marked = boxed(record.answer) if record.answer_type == "math" else None
    return record.answer if marked is None else marked
