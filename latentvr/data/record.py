"""The one record that every reader makes and every other part of the library takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from PIL import Image

AnswerType = Literal["mcq", "number", "text", "yesno", "path", "math"]
ANSWER_TYPES: tuple[str, ...] = get_args(AnswerType)


@dataclass(frozen=True)
class Box:
    """A region of interest.

    Attributes:
        image: index of the image in `Record.images`.
        box: normalised corners (x0, y0, x1, y1), each in [0, 1].
    """

    image: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """One question about one or more images.

    Attributes:
        id: unique within its source.
        task: task name; figures are reported per task.
        split: "train", "validation" or "test".
        images: paths below the image root (or keys of a generated source), in prompt order.
        prompt: the whole text shown to the model; `<image>` marks where an image goes, and
            images without a mark come first.
        answer: the expected answer, as the model should write it.
        answer_type: how the answer is compared.
        question: the bare question, without choices.
        choices: texts of the options of a multiple-choice question.
        bboxes: regions of interest.
        response: the assistant's whole turn as the data set writes it, where it is more than the
            answer; "" otherwise. What region marks in it mean is the method's business.
        meta: anything else that the source knows.
    """

    id: str
    task: str
    split: str
    images: tuple[str, ...]
    prompt: str
    answer: str
    answer_type: AnswerType = "text"
    question: str = ""
    choices: tuple[str, ...] = ()
    bboxes: tuple[Box, ...] = ()
    response: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """Records and the images that belong to them."""

    records: Sequence[Record]

    def images(self, record: Record) -> list[Image.Image]:
        """Give the record's images as RGB, in prompt order."""
        ...

    def where(self, record: Record) -> str:
        """Name the record's place for error messages: file and row, or its id."""
        ...
