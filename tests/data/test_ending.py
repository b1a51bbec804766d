"""How a turn with the right answer ends, and which of its tokens write the answer.

Breaks when: markup or the end of turn counts as answer, a part of the answer does not, the wrong one of two
occurrences is taken, or text before the last latent span is repeated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latentvr.data.layout import Layout, Segment
from latentvr.data.record import Box
from latentvr.evaluation.prompts import encoder_for

LEFT, RIGHT = Box(0, (0.0, 0.0, 0.5, 0.5)), Box(0, (0.5, 0.5, 1.0, 1.0))
SPOKEN = "it is red here <lvr> and blue there <lvr> so it is <answer> {} </answer> indeed"


def _parts(lab: Any, family: str, name: str, changes: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """What stands before the answer, the answer, and what follows it, as text."""
    model = lab.model(family, name, **options)
    record = replace(lab.records["one image"], **{"response": "", "bboxes": (LEFT,), **changes})
    ids, own = encoder_for(model).ending(record)
    places = own.nonzero()[:, 0].tolist()
    first, last = places[0], places[-1] + 1
    assert places == list(range(first, last))
    decode = model.processor.tokenizer.decode
    return [decode(part, skip_special_tokens=False) for part in (ids[:first], ids[first:last], ids[last:])]


@pytest.mark.parametrize(
    ("name", "changes", "options", "before", "after"),
    [
        ("direct", {}, {}, "", "<|im_end|>"),
        ("livr", {}, {}, "", "<|im_end|>"),
        ("lvr", {}, {"wrap_answer": False}, "\n", "<|im_end|>"),
        ("lvr", {}, {"wrap_answer": True}, "\n<answer>", "</answer><|im_end|>"),
        ("lvr", {"bboxes": (LEFT, RIGHT)}, {"wrap_answer": True}, "\n<answer>", "</answer><|im_end|>"),
        ("lvr", {"bboxes": ()}, {"boxless": "plain", "wrap_answer": False}, "", "<|im_end|>"),
    ],
    ids=["plain", "latents in the prompt", "span", "wrapped", "two spans", "boxless"],
)
@pytest.mark.parametrize("answer", ["red", "3", "dark red and blue"])
def test_the_answer_alone_is_asked_for(
    lab: Any, family: str, name: str, changes: Any, options: Any, before: str, after: str, answer: str
) -> None:
    found = _parts(lab, family, name, {"answer": answer, "answer_type": "text", **changes}, options)
    assert found[1].strip() == answer
    assert [found[0].rstrip(" "), found[2].strip()] == [before, after]


def test_the_last_of_several_spans_and_of_several_answers(lab: Any, family: str) -> None:
    """The text stands before the answer, and "blue" before the span is no answer."""
    changes = {
        "answer": "blue",
        "answer_type": "text",
        "bboxes": (LEFT, RIGHT),
        "response": SPOKEN.format("blue"),
    }
    before, own, after = _parts(lab, family, "lvr", changes, {})
    assert before.strip() == "so it is <answer>"
    assert own.strip() == "blue"
    assert after.strip() == "</answer> indeed<|im_end|>"


@pytest.mark.parametrize("answer", ["n", "answer", "end", "e", "s"])
def test_markup_that_holds_the_answers_letters_is_no_answer(lab: Any, family: str, answer: str) -> None:
    """These letters stand in `</answer>` and in the end of turn too."""
    changes = {"answer": answer, "answer_type": "text"}
    found = _parts(lab, family, "lvr", changes, {"wrap_answer": True})
    assert found[1].strip() == answer
    assert found[0].strip() == "<answer>"


def test_where_the_response_does_not_hold_the_answer_all_of_it_is_asked_for(lab: Any, family: str) -> None:
    changes = {"answer": "green", "answer_type": "text", "response": "look <lvr> it is verdant"}
    found = _parts(lab, family, "lvr", changes, {})
    assert found == ["", found[1], ""]
    assert found[1].strip() == "it is verdant<|im_end|>"


def test_a_turn_of_nothing_but_a_span(lab: Any, family: str) -> None:
    """An answer of another method stands before its span: the end of turn alone is left."""
    model = lab.model(family)
    encoder = encoder_for(model)
    encoder.layout = lambda record: Layout((), (Segment("text", record.answer), Segment("tokens", "")))
    ids, own = encoder.ending(replace(lab.records["one image"], answer="red"))
    assert model.processor.tokenizer.decode(ids) == "<|im_end|>"
    assert own.all()
