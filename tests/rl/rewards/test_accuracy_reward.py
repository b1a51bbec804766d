"""The accuracy reward is evaluation's judgement, for every type of answer, and hostile texts cost no time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from latentvr.data.record import AnswerType
from latentvr.evaluation.metrics import judge
from latentvr.evaluation.time_limit import limited
from latentvr.rl.rewards.accuracy import accuracy_reward
from latentvr.rl.rewards.format import format_reward

ANSWERS: dict[str, tuple[str, str, str]] = {
    "mcq": ("B", "(B) the third", "(A)"),
    "number": ("3", "there are three", "<answer> 4 </answer>"),
    "text": ("a cat", "<answer> A cat. </answer>", "a dog"),
    "yesno": ("yes", "Yes, it is", "no"),
    "path": ("LR", r"\boxed{L, R}", r"\boxed{L}"),
    "math": (r"\frac{1}{2}", r"so \boxed{0.5}", r"\boxed{2}"),
}
UNITS = (
    "<answer", "<answer>", "(", ")", " ", "9", "9,", "1,111,", "9.", "\\boxed{", "answer is ", "A\t\t", "$",
    "\\(", "{", "the ", "\n", "-", "A or ", "twenty ",
)  # fmt: skip


@pytest.fixture
def asked(lab: Any) -> Any:
    """Makes a round of one record of a type, with completions as texts."""

    def make(answer_type: str, *texts: str) -> tuple[Any, list[list[dict[str, str]]]]:
        answer = ANSWERS[answer_type][0]
        choices = ("the second", "the third") if answer_type == "mcq" else ()
        record = replace(lab.records["one image"], answer=answer, answer_type=answer_type, choices=choices)
        from latentvr.config.schema import DecodeConfig, RLConfig
        from latentvr.rl.rewards.context import RewardContext

        model = lab.model("tiny-qwen2.5-vl")
        records = [record] * len(texts)
        context = RewardContext(model, records, [], [], None, None, DecodeConfig(), RLConfig())  # type: ignore[arg-type]
        return context, [[{"role": "assistant", "content": text}] for text in texts]

    return make


@pytest.mark.parametrize("answer_type", get_args(AnswerType))
def test_every_type_of_answer_is_judged(asked: Any, answer_type: str) -> None:
    context, completions = asked(answer_type, *ANSWERS[answer_type][1:], "")
    assert accuracy_reward([], completions, context=context) == [1.0, 0.0, 0.0]
    assert format_reward([], completions, context=context) == [1.0, 1.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("answer_type", get_args(AnswerType))
def test_texts_of_100_kb_take_linear_time(asked: Any, answer_type: str) -> None:
    """A pattern that takes quadratic time needs minutes for one of these."""
    for unit in UNITS:
        text = unit * (100_000 // len(unit))
        context, completions = asked(answer_type, text, text + "!")
        limited(lambda c=completions, x=context: format_reward([], c, context=x), 8)  # type: ignore[misc]
        limited(lambda c=text, x=context: judge(x.records[0], c), 8)  # type: ignore[misc]
