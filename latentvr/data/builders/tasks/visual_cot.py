"""Visual CoT: short answers about a region of an image (training data of arXiv 2509.24251 and 2512.21218)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.held_out import held_out
from latentvr.data.builders.rules import Rules, rule
from latentvr.data.builders.stored import stored_size, unreadable
from latentvr.data.record import Box
from latentvr.data.sets import visual_cot
from latentvr.data.sets.writable import is_writable
from latentvr.errors import UserError

NO_PAPER: Final = "not in the paper"
# Sides of an image and of the one that was annotated, where one is the other made smaller.
_ASPECT = 0.01


@dataclass(frozen=True)
class VisualCotRules(Rules):
    """Parameters of the task.

    Attributes:
        train: records for training.
        validation: records for validation.
        validation_share: share of the images that go to validation.
        datasets: that are used.
        form: of the files.
        boxes: what becomes of the boxes.
        instruction: behind the question.
        images: whether images are copied.
    """

    train: int | None = rule(None, "paper", "records for training; all of the set")
    validation: int | None = rule(None, NO_PAPER, "records for validation, of those held out")
    validation_share: float = rule(
        0.0, NO_PAPER, "share of the images whose questions go to validation", low=0.0, high=0.5
    )
    datasets: str = rule("", NO_PAPER, "data sets that are used, such as gqa,vsr; empty: all that there are")
    form: str = rule(
        "auto",
        NO_PAPER,
        "metadata has every box of a question, conversations one round them all; auto: the first there is",
        one_of=("auto", *visual_cot.FORMS),
    )
    boxes: str = rule(
        "keep",
        "paper",
        "keep them as regions of interest (arXiv 2509.24251), or drop them (arXiv 2512.21218, table 4)",
        one_of=("keep", "drop"),
    )
    instruction: str = rule(
        "Provide a short and direct response.",
        NO_PAPER,
        "line behind the question; wording of the rows that the authors of arXiv 2509.24251 have published",
    )
    images: str = rule("copy", NO_PAPER, "copy the images, or make hard links", one_of=("copy", "link"))


class VisualCot(Builder):
    """One record for each question, its task named by the data set."""

    name = "visual_cot"
    task = "Visual_CoT"
    source = "deepcs233/Visual-CoT"
    licence = "Apache-2.0; images keep the terms of their data sets"
    rules_type = VisualCotRules
    splits = ("train", "validation")
    rules: VisualCotRules

    def __init__(self, root: Path, rules: VisualCotRules, seed: int) -> None:
        super().__init__(root, rules, seed)
        self._clipped: dict[str, int] = {}
        self._unsized: dict[str, int] = {}

    def tables(self) -> Iterable[Path]:
        """The files of questions."""
        form = "" if self.rules.form == "auto" else self.rules.form
        return visual_cot.tables(self.root, form, self._datasets())

    def candidates(self, split: str) -> Listing:
        """List the questions whose boxes have the right form."""
        rows = [row for file in self.tables() for row in visual_cot.rows(file) if self._wanted(row)]
        images = (_image_key(row) for row in rows)
        kept = held_out(images, self.rules.validation_share, self.draws("held out"))
        listed: list[Candidate] = []
        rejected: dict[str, int] = {}
        self._clipped[split] = self._unsized[split] = 0
        for row in rows:
            if (_image_key(row) in kept) != (split == "validation"):
                continue
            problem = self._problem(row)
            if problem:
                rejected[problem] = rejected.get(problem, 0) + 1
                continue
            self._clipped[split] += self._is_clipped(row)
            self._unsized[split] += row.size is None and self.rules.boxes == "keep"
            listed.append(Candidate(row.key, self._facts(row)))
        return Listing(listed, rejected)

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Make the question a record, if its image can be opened and is the one that was annotated."""
        facts = candidate.facts
        file = visual_cot.picture(self.root, facts["dataset"], facts["image"])
        if file is None:
            return Rejection("missing_image")
        problem = unreadable(file, self.root)
        if problem is not None:
            return problem
        size, turned = stored_size(file)
        named = facts["size"] or size
        if facts["boxes"] and turned:
            # Nobody says which way up the boxes were drawn.
            return Rejection("turned_by_exif")
        if facts["boxes"] and abs(size[0] * named[1] / (size[1] * named[0]) - 1) > _ASPECT:
            return Rejection("size")
        boxes = [normalised(box, named) for box in facts["boxes"]]
        if any(box is None for box in boxes):
            return Rejection("empty_box")
        inside = tuple(Box(0, box) for box in boxes if box is not None)
        return self._sample(facts, file, size, inside)

    def notes(self) -> Mapping[str, Any]:
        """Count the questions with a box that leaves its image, and say which form was read."""
        return {
            "tables": [path.name for path in self.tables()],
            "questions with a box that is clipped, as far as their rows tell": self._clipped,
            "questions with boxes and no size, taken to be in pixels of the file": self._unsized,
        }

    def _datasets(self) -> tuple[str, ...]:
        names = tuple(name.strip() for name in self.rules.datasets.split(",") if name.strip())
        unknown = [name for name in names if name not in visual_cot.DATASETS]
        if unknown:
            raise UserError(
                f"expected data sets of {', '.join(visual_cot.DATASETS)}, got {unknown[0]!r}, "
                "at latentvr data build visual_cot datasets; fix: correct the name"
            )
        return names

    def _wanted(self, row: visual_cot.VisualCotRow) -> bool:
        names = self._datasets()
        return not names or _name(row.dataset) in names

    def _problem(self, row: visual_cot.VisualCotRow) -> str:
        """The rule that rejects a row; "" if none does."""
        if not is_writable(row.dataset, row.question, row.answer, row.image):
            return "not_unicode"
        if not row.question:
            return "no_question"
        if not row.answer:
            return "no_answer"
        if self.rules.boxes == "drop":
            return ""
        if row.boxes is None:
            return "malformed_box"
        if not row.boxes:
            return "no_box"
        if any(box[0] >= box[2] or box[1] >= box[3] for box in row.boxes):
            return "empty_box"
        return ""

    def _is_clipped(self, row: visual_cot.VisualCotRow) -> bool:
        if row.size is None or self.rules.boxes == "drop":
            return False
        width, height = row.size
        return any(box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height for box in row.boxes or ())

    def _facts(self, row: visual_cot.VisualCotRow) -> dict[str, Any]:
        return {
            "dataset": row.dataset,
            "question": row.question,
            "answer": row.answer,
            "image": row.image,
            "size": None if row.size is None else list(row.size),
            "boxes": row.boxes if self.rules.boxes == "keep" else [],
        }

    def _sample(
        self, facts: Mapping[str, Any], file: Path, size: tuple[int, int], boxes: tuple[Box, ...]
    ) -> Sample:
        instruction = f"\n{self.rules.instruction}" if self.rules.instruction else ""
        kept = {"boxes": facts["boxes"]} if facts["boxes"] else {}
        return Sample(
            prompt=facts["question"] + instruction,
            answer=facts["answer"],
            answer_type="text",
            images=(file,),
            inputs=(file,),
            question=facts["question"],
            label=_name(facts["dataset"]),
            bboxes=boxes,
            task=f"{self.task}/{_name(facts['dataset'])}",
            meta={
                "source": file.relative_to(self.root).as_posix(),
                "dataset": facts["dataset"],
                "size": list(size),
                **kept,
            },
        )


def _name(dataset: str) -> str:
    """One name for each data set: the conversations call visual7w v7w."""
    return "visual7w" if dataset == "v7w" else dataset


def _image_key(row: visual_cot.VisualCotRow) -> str:
    """An image by its file's name: textcap and textvqa have images in common."""
    return row.image.rpartition("/")[2]


def normalised(box: list[float], size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Divide a box in pixels by the image's sides; what lies beyond the image is cut off.

    Args:
        box: x0, y0, x1, y1 in pixels.
        size: width and height in pixels.

    Returns:
        Corners in [0, 1], or None where nothing of the box is in the image.
    """
    x0, x1 = (min(max(x / size[0], 0.0), 1.0) for x in (box[0], box[2]))
    y0, y1 = (min(max(y / size[1], 0.0), 1.0) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
