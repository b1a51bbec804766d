"""What a toy task is: a maker of single examples, and the phrases that it can utter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentvr.data.record import AnswerType, Box
from latentvr.data.toy.scenes import Pixels


@dataclass(frozen=True)
class Example:
    """One drawn question.

    Attributes:
        images: RGB arrays (size, size, 3), in prompt order.
        question: the whole question, without choices.
        answer: the expected answer.
        answer_type: how the answer is compared.
        boxes: regions that answer the question.
        choices: texts of the options; empty for an open question.
        show_choices: whether the prompt lists the options (not if they are marks in the image).
        meta: sources and settings.
    """

    images: tuple[Pixels, ...]
    question: str
    answer: str
    answer_type: AnswerType
    boxes: tuple[Box, ...]
    choices: tuple[str, ...] = ()
    show_choices: bool = False
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Draw:
    """What an example is made from.

    Attributes:
        rng: belongs to this example alone.
        split: which scans and photo bands may be used.
        size: side of every image in pixels.
        rank: number in [0, `Task.answers`); balanced over a run of examples, it decides the answer.
    """

    rng: np.random.Generator
    split: str
    size: int
    rank: int


@dataclass(frozen=True)
class Task:
    """A kind of question.

    Attributes:
        name: as in `Record.task`.
        answers: number of different answers that are balanced.
        make: draws one example.
        phrases: gives every question and every answer that can occur.
    """

    name: str
    answers: int
    make: Callable[[Draw], Example]
    phrases: Callable[[], list[str]]
