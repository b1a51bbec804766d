r"""ViRL39K: questions for reinforcement (arXiv 2509.24251), their answers taken out of `\boxed{}`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from latentvr.data.builders.boxed import boxed
from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.held_out import connected, held_out
from latentvr.data.builders.rules import Rules, rule
from latentvr.data.builders.stored import unreadable
from latentvr.data.readers.fields import MARK
from latentvr.data.record import AnswerType
from latentvr.data.sets import virl39k
from latentvr.data.sets.placed import placed

NO_PAPER: Final = "not in the paper"
_COMMAND = re.compile(r"\\[A-Za-z]+")
# As judges of mathematics see it: such a text is language.
_WORDS = re.compile(r"[A-Za-z]{3}|[A-Za-z]{2}\s+[A-Za-z]{2}")
_AMOUNT = re.compile(r"-?[\d.,]*\d\s+[A-Za-z][A-Za-z ]*")
_MARKED = re.compile(r"\$[^$]+\$|\\\(|\\\[")
_LONGEST = 500


@dataclass(frozen=True)
class Virl39kRules(Rules):
    """Parameters of the task.

    Attributes:
        train: records for training.
        validation: records for validation.
        validation_share: share of the groups of questions that go to validation.
        marks: what becomes of image marks.
        words: what becomes of answers in words.
        images: whether images are copied.
    """

    train: int | None = rule(None, "paper", "records for training; all of the set")
    validation: int | None = rule(None, NO_PAPER, "records for validation, of those held out")
    validation_share: float = rule(
        0.0,
        NO_PAPER,
        "share of the questions that go to validation, by groups of questions with images in common",
        low=0.0,
        high=0.5,
    )
    marks: str = rule(
        "drop",
        NO_PAPER,
        "drop: image marks go and images come first, as in the authors' rows; keep: they stay where they are",
        one_of=("drop", "keep"),
    )
    words: str = rule(
        "text",
        NO_PAPER,
        "answers that are words, not mathematics: text compares them as texts, reject leaves them out",
        one_of=("text", "reject"),
    )
    images: str = rule("copy", NO_PAPER, "copy the images, or make hard links", one_of=("copy", "link"))


class Virl39k(Builder):
    """One record for each question that has images and one answer."""

    name = "virl39k"
    task = "ViRL39K"
    source = "TIGER-Lab/ViRL39K"
    licence = "MIT"
    rules_type = Virl39kRules
    splits = ("train", "validation")
    rules: Virl39kRules

    def tables(self) -> Iterable[Path]:
        """The table of questions."""
        return (virl39k.table(self.root),)

    def candidates(self, split: str) -> Listing:
        """List the questions whose answer can be taken out of its box."""
        rows = list(virl39k.rows(self.root))
        groups = connected({row.qid: row.images for row in rows})
        kept = held_out(groups.values(), self.rules.validation_share, self.draws("held out"))
        wanted = (row for row in rows if (groups[row.qid] in kept) == (split == "validation"))
        return Listing.sorted_out((row.qid, self._facts(row)) for row in wanted)

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Make the question a record, if its images can be opened."""
        facts = candidate.facts
        found = [placed(name, [self.root]) for name in facts["images"]]
        files = tuple(path for path in found if path is not None)
        if len(files) < len(found):
            return Rejection("missing_image")
        for path in files:
            problem = unreadable(path, self.root)
            if problem is not None:
                return problem
        return Sample(
            prompt=facts["prompt"],
            answer=facts["answer"],
            answer_type=facts["answer_type"],
            images=files,
            inputs=files,
            question=without_marks(facts["prompt"]),
            label=facts["meta"]["category"] or "no category",
            meta={"source": facts["meta"]["source"], **facts["meta"], "images": facts["images"]},
        )

    def _facts(self, row: virl39k.VirlRow) -> dict[str, Any] | str:
        """What a record is made of, or the rule that rejects the question."""
        answer = unboxed(row.answer)
        bare = without_marks(row.question)
        kind: AnswerType = "math" if is_mathematics(answer) else "text"
        problems = {
            "no_image": not row.images,
            "no_question": not bare,
            "no_answer": not answer,
            "marks": self.rules.marks == "keep" and row.question.count(MARK) not in (0, len(row.images)),
            "words": kind == "text" and self.rules.words == "reject",
        }
        for name, holds in problems.items():
            if holds:
                return name
        return {
            "prompt": row.question.strip() if self.rules.marks == "keep" else bare,
            "answer": answer,
            "answer_type": kind,
            "images": list(row.images),
            "meta": {"source": row.source, "category": row.category, "qid": row.qid, "pass_rates": row.rates},
        }


def without_marks(text: str) -> str:
    """Take the image marks out of a text, each with the line end or the blank behind it."""
    return re.sub(rf"{MARK}(?:\n|[ \t])?", "", text).strip()


def unboxed(answer: str) -> str:
    r"""Give what stands in the one `\boxed{}` of an answer, or an answer without any as it is.

    Args:
        answer: as the data set writes it.

    Returns:
        The bare answer; "" where there are several boxes, or one is not closed.
    """
    found = boxed(answer)
    if found is None or len(found) > 1:
        return ""
    return (found[0] if found else answer).strip()


def is_mathematics(answer: str) -> bool:
    """Whether an answer is an expression, a number with its unit, or a letter; not words."""
    if _MARKED.search(answer) or _AMOUNT.fullmatch(answer):
        return True
    return len(answer) <= _LONGEST and not _WORDS.search(_COMMAND.sub(" ", answer))
