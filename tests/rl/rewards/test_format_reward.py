"""The format reward looks at the latents that were fed, and pays for nothing less than whole spans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latentvr.rl.rewards.format import format_reward, has_whole_spans

S, E, Z, W = 1, 2, 3, 9  # start, end, slot, word


def whole(ids: list[int], end: int | None = E, before: int = W) -> bool:
    """Slots are where Z stands; a sampled Z is written as its negative."""
    return has_whole_spans([abs(i) for i in ids], [i == Z for i in ids], S, end, before)


@pytest.mark.parametrize(
    "ids",
    [[S, Z, Z, E, W], [W, S, Z, E], [S, Z, W, W, E, W], [S, Z, E, W, S, Z, Z, E], [E, S, Z, E], [S, Z, E, E]],
)
def test_whole_spans(ids: list[int]) -> None:
    assert whole(ids)


@pytest.mark.parametrize(
    "ids",
    [
        [], [W], [E], [S], [S, E], [S, W, E], [S, Z, Z], [S, Z, W], [S, Z, E, W, S, Z], [S, Z, W, S, Z, E],
        [S, -Z, -Z, E], [Z, E], [S, Z, E, W, S], [S, S, Z, E],
    ],
)  # fmt: skip
def test_anything_less(ids: list[int]) -> None:
    assert not whole(ids)


def test_the_prompt_may_open_the_first_span() -> None:
    assert whole([Z, Z, E, W], before=S)
    assert not whole([W, E], before=S)


def test_leaving_closes_a_span_without_closing_markers() -> None:
    assert whole([S, Z, W], end=None)
    assert whole([S, Z, S, Z, W], end=None)
    assert not whole([S, Z], end=None)


def test_what_was_decoded_counts_and_not_its_text(in_spans: Any) -> None:
    """The second completion shows the same markers, but no latent was fed between them."""
    written = in_spans.write()
    assert in_spans.reward(format_reward, written) == [1.0, 0.0]
    plain = replace(written[0], slot=[False] * len(written[0].ids))
    cut = replace(written[0], ids=written[0].ids[:3], slot=written[0].slot[:3])
    assert in_spans.reward(format_reward, [plain, cut]) == [0.0, 0.0]


def test_without_spans_an_answer_is_enough(in_prompts: Any) -> None:
    tokenizer = in_prompts.model.processor.tokenizer
    rollout = in_prompts.write()[0]
    in_prompts.records = [replace(record, answer_type="yesno", answer="no") for record in in_prompts.records]
    answers = [replace(rollout, ids=tokenizer.encode(text)) for text in ("yes", "the image")]
    assert in_prompts.reward(format_reward, answers) == [1.0, 0.0]
