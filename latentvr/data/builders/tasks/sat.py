"""SAT and SAT-32k: spatial questions with options, about one or more images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.rules import Rules, rule
from latentvr.data.builders.stored import undecodable, unreadable
from latentvr.data.builders.taken_out import LARGE, TakenOut
from latentvr.data.prompt import build_prompt, letters
from latentvr.data.readers.fields import MARK
from latentvr.data.readers.validation import MAX_CHOICES
from latentvr.data.sets import sat
from latentvr.data.sets.writable import is_writable
from latentvr.errors import UserError

NO_PAPER: Final = "not in the paper"


@dataclass(frozen=True)
class SatRules(Rules):
    """Parameters of the task.

    Attributes:
        train: records for training.
        validation: records for validation.
        form: of the files.
        subset: of the training rows in parquet.
        style: of the prompt.
        shuffle: whether options are shuffled.
        marks: what becomes of image marks that do not fit the images.
        images: whether image files are copied.
    """

    train: int | None = rule(None, NO_PAPER, "records for training; all that there are by default")
    validation: int | None = rule(None, NO_PAPER, "records for validation; all that there are by default")
    form: str = rule(
        "auto",
        NO_PAPER,
        "parquet is SAT, jsonl is SAT-32k; auto: the one that there is",
        one_of=("auto", *sat.FORMS),
    )
    subset: str = rule("train", NO_PAPER, "of SAT's parquet files for training", one_of=("train", "static"))
    style: str = rule(
        "auto",
        NO_PAPER,
        "as_is: the text of SAT-32k, answered by an option's text; paper: SAT's own wording, likewise; "
        "letter: lettered options, answered by a letter; auto: as_is for jsonl, paper for parquet",
        one_of=("auto", "as_is", "paper", "letter"),
    )
    shuffle: bool = rule(
        True, NO_PAPER, "whether options are shuffled, as SAT's card asks for; never in the style as_is"
    )
    marks: str = rule(
        "repair",
        NO_PAPER,
        "texts whose image marks do not fit their images: repair takes the marks out, so that images come "
        "first; reject leaves the rows out",
        one_of=("repair", "reject"),
    )
    images: str = rule("copy", NO_PAPER, "copy image files, or make hard links", one_of=("copy", "link"))


class Sat(Builder):
    """One record for each row whose answer is one of its options."""

    name = "sat"
    task = "SAT"
    source = "array/SAT or array/SAT-v2 (parquet), gsarch/vigorl_datasets (jsonl, SAT-32k)"
    licence = "MIT (SAT)"
    rules_type = SatRules
    splits = ("train", "validation")
    rules: SatRules
    #: Bytes of images in a row group of parquet from which on they are copied first, in each process.
    large: ClassVar[int] = LARGE

    def __init__(self, root: Path, rules: SatRules, seed: int) -> None:
        super().__init__(root, rules, seed)
        self._repaired: dict[str, int] = {}
        self._read: set[Path] = set()
        self._copies: dict[Path, TakenOut] = {}

    def tables(self) -> Iterable[Path]:
        """The files that were listed."""
        return sorted(self._read)

    def candidates(self, split: str) -> Listing:
        """List the rows whose answer is one of their options."""
        file = self._file(split)
        self._read.add(file)
        listed: list[Candidate] = []
        rejected: dict[str, int] = {}
        self._repaired[split] = 0
        for row in sat.rows(file, self.root, pictures=False):
            problem = self._problem(row)
            if problem:
                rejected[problem] = rejected.get(problem, 0) + 1
                continue
            facts = self._facts(row)
            self._repaired[split] += facts["repaired"]
            listed.append(Candidate(f"{row.number:06d}", facts))
        return Listing(listed, rejected)

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:
        """Make the row a record, if its images can be opened."""
        facts, file = candidate.facts, self._file(split)
        images: tuple[Path | bytes, ...] = tuple(Path(name) for name in facts["images"])
        if file.suffix == ".parquet":
            images = self._stored(file, split, facts["number"])
        if not images:
            return Rejection("no_image")
        for image in images:
            problem = (
                undecodable(image, candidate.key)
                if isinstance(image, bytes)
                else unreadable(image, self.root)
            )
            if problem is not None:
                return problem
        style, choices = self._style(file), list(facts["choices"])
        if self.rules.shuffle and style != "as_is":
            choices = [choices[i] for i in rng.permutation(len(choices))]
        return self._sample(facts, file, images, tuple(choices), style)

    def notes(self) -> Mapping[str, Any]:
        """Say which files were read, and in how many texts image marks were taken out."""
        return {"tables": [path.name for path in sorted(self._read)], "marks taken out": self._repaired}

    def _stored(self, file: Path, split: str, number: int) -> tuple[bytes, ...]:
        """Images of a row of parquet."""
        # Without a size the rows are tried in the order of the file.
        if file not in self._copies and self.size(split) is not None and sat.largest_group(file) > self.large:
            self._copies[file] = TakenOut(sat.pictures(file))
        copy = self._copies.get(file)
        if copy is None or number > len(copy):
            return sat.picture_bytes(file, number)
        return copy.row(number - 1)

    def _file(self, split: str) -> Path:
        form = "" if self.rules.form == "auto" else self.rules.form
        if split == "train" and self.rules.subset == "static":
            return sat.find(self.root, "static", form)
        return sat.find(self.root, split, form)

    def _style(self, file: Path) -> str:
        parquet = file.suffix == ".parquet"
        if parquet and self.rules.style == "as_is":
            raise UserError(
                f"expected style=paper or style=letter for {file.name}, got as_is, at latentvr data build "
                "sat; fix: only the JSON lines of SAT-32k have a text to be kept as it is"
            )
        if self.rules.style == "auto":
            return "paper" if parquet else "as_is"
        return self.rules.style

    def _problem(self, row: sat.SatRow) -> str:
        """The rule that rejects a row; "" if none does."""
        folded = [choice.casefold() for choice in row.choices]
        problems = {
            "choices_are_no_list": not row.listed,
            "not_unicode": not is_writable(
                row.id, row.question, row.choices, row.answer, row.kind, row.problem
            ),
            "no_question": not row.question,
            "no_choices": not 2 <= len(row.choices) <= MAX_CHOICES or "" in folded,
            "choice_twice": len(set(folded)) < len(folded),
            "answer_is_no_choice": row.answer not in row.choices,
            "no_image": bool(row.problem) and not row.images,
            "marks": self.rules.marks == "reject" and _unfit(row),
        }
        return next((name for name, holds in problems.items() if holds), "")

    def _facts(self, row: sat.SatRow) -> dict[str, Any]:
        repaired = bool(row.problem) and _unfit(row)
        return {
            "number": row.number,
            "id": row.id,
            "images": [str(image) for image in row.images],
            "question": row.question,
            "choices": list(row.choices),
            "answer": row.answer,
            "kind": row.kind,
            "problem": row.problem.replace(MARK, "").strip() if repaired else row.problem,
            "repaired": repaired,
        }

    def _sample(
        self,
        facts: Mapping[str, Any],
        file: Path,
        images: tuple[Path | bytes, ...],
        choices: tuple[str, ...],
        style: str,
    ) -> Sample:
        letter = letters(len(choices))[choices.index(facts["answer"])]
        prompts = {
            "as_is": facts["problem"],
            "paper": own_wording(facts["question"], choices),
            "letter": build_prompt(facts["question"], choices),
        }
        return Sample(
            prompt=prompts[style],
            answer=letter if style == "letter" else facts["answer"],
            answer_type="mcq" if style == "letter" else "text",
            images=images,
            inputs=tuple(image for image in images if isinstance(image, Path)),
            question=facts["question"],
            choices=choices,
            label=letter,
            meta={
                "source": f"{file.name} row {facts['number']}",
                "id": facts["id"],
                "kind": facts["kind"],
                "letter": letter,
                "marks_taken_out": facts["repaired"],
            },
        )


def _unfit(row: sat.SatRow) -> bool:
    """Whether a text has image marks, and not one for each image."""
    return row.problem.count(MARK) not in (0, len(row.images))


def own_wording(question: str, choices: tuple[str, ...]) -> str:
    """Ask a question in the wording of SAT's authors, all options in one line."""
    listed = ", ".join([*choices[:-1], f"or {choices[-1]}"])
    return f"{question} Choose between the following options: {listed}."
