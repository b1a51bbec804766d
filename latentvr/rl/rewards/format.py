"""Reward for completions of the form that the method asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentvr.evaluation.metrics import judge
from latentvr.rl.rewards.context import RewardContext


def format_reward(
    prompts: Sequence[Any], completions: Sequence[Sequence[dict[str, str]]], **columns: Any
) -> list[float | None]:
    """1 for completions of the right form, else 0.

    Where the method opens spans (arXiv 2509.24251, section 3.3), each span has its start marker, latents and
    its closing marker, and there is at least one; what counts are the latents that were fed, never the text.
    Elsewhere, an answer of the record's type can be taken out of the text.

    Args:
        prompts: not looked at.
        completions: conversational, one assistant message each.
        **columns: `context` of the round.

    Returns:
        One reward for each completion.
    """
    del prompts
    context: RewardContext = columns["context"]
    span = context.model.reasoner.span()
    if span is None:
        judged = [judge(r, c[0]["content"]) for r, c in zip(context.records, completions, strict=True)]
        return [float(not prediction.failed) for prediction in judged]
    ids = context.model.token_ids
    start, end = ids[span.start], ids[span.end[-1]] if span.end else None
    return [
        float(has_whole_spans(rollout.ids, rollout.slot, start, end, int(sample.ids[-1])))
        for rollout, sample in zip(context.rollouts, context.samples, strict=True)
    ]


def has_whole_spans(
    ids: Sequence[int], slot: Sequence[bool], start: int, end: int | None, before: int
) -> bool:
    """Tell whether a completion opens at least one latent span, and closes each one that it opens.

    Args:
        ids: tokens (T,).
        slot: where a latent was fed (T,).
        start: token that opens a span.
        end: last token of those that close it; None where leaving latent mode closes it.
        before: last token of the prompt, which may open the first span.

    Returns:
        Whether start, latents and end follow each other in each span; text may stand before the end.
    """
    # A span is "text" before and after, "open" at its start marker, "fed" from its first latent on.
    state = "open" if before == start else "text"
    spans = 0
    for token, fed in zip(ids, slot, strict=True):
        if fed:
            if state == "text":
                return False
            spans += state == "open"
            state = "fed"
        elif state == "fed" and (end is None or token == end):
            state = "open" if token == start else "text"
        elif state == "open" or (token == start and state == "fed"):
            return False  # a span without latents, or one in another
        elif token == start:
            state = "open"
    return spans > 0 and state == "text"
