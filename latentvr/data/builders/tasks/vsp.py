r"""Visual spatial planning (VSP in Mirage's form): a way over a frozen lake, written in `\boxed{}`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from latentvr.data.builders.boxed import boxed
from latentvr.data.builders.builder import Builder, Candidate, Generator, Listing, Rejection, Sample
from latentvr.data.builders.held_out import held_out
from latentvr.data.builders.rules import Rules, rule
from latentvr.data.builders.stored import unreadable
from latentvr.data.readers.fields import MARK
from latentvr.data.sets import vsp
from latentvr.data.sets.writable import is_writable

NO_PAPER: Final = "not in the paper"
_STEPS = (("D", 1, 0), ("R", 0, 1), ("U", -1, 0), ("L", 0, -1))
_START, _GOAL, _HOLE, _ICE = 1, 2, -1, 0


@dataclass(frozen=True)
class VspRules(Rules):
    """Parameters of the task.

    Attributes:
        train: records for training.
        validation: records for validation.
        test: records of the test.
        validation_share: share of the training rows that go to validation.
        answer: form of the answer.
        images: whether images are copied.
    """

    train: int | None = rule(None, NO_PAPER, "records for training; all that there are by default")
    validation: int | None = rule(None, NO_PAPER, "records for validation, of those held out")
    test: int | None = rule(None, "paper", "records of the test; 400 in the published file")
    validation_share: float = rule(
        0.0, NO_PAPER, "share of the training rows that go to validation", low=0.0, high=0.5
    )
    answer: str = rule(
        "boxed",
        NO_PAPER,
        r"boxed: \boxed{...} as the prompt asks for it; plan: the bare moves",
        one_of=("boxed", "plan"),
    )
    images: str = rule("copy", NO_PAPER, "copy the images, or make hard links", one_of=("copy", "link"))


class Vsp(Builder):
    """One record for each row; the auxiliary images of the training rows are not used."""

    name = "vsp"
    task = "VSP"
    source = "VSP in Mirage's form (UMass-Embodied-AGI/Mirage, data/vsp_spatial_planning)"
    licence = "none stated"
    rules_type = VspRules
    splits = ("train", "validation", "test")
    rules: VspRules

    def tables(self) -> Iterable[Path]:
        """The files of rows that there are."""
        return vsp.tables(self.root)

    def candidates(self, split: str) -> Listing:
        """List the rows that have a plan, or a map to find one on."""
        rows = vsp.rows(self.root, "test" if split == "test" else "train")
        if split != "test":
            kept = held_out([row.id for row in rows], self.rules.validation_share, self.draws("held out"))
            rows = [row for row in rows if (row.id in kept) == (split == "validation")]
        return Listing.sorted_out((row.id, self._facts(row)) for row in rows)

    def make(self, split: str, candidate: Candidate, rng: Generator) -> Sample | Rejection:  # noqa: ARG002
        """Make the row a record, if its image can be opened."""
        facts = candidate.facts
        image = Path(facts["image"])
        problem = unreadable(image, self.root)
        if problem is not None:
            return problem
        level, grid = facts["level"], facts["map_desc"]
        return Sample(
            prompt=facts["prompt"],
            answer=facts["written"] if self.rules.answer == "boxed" else facts["plan"],
            answer_type="path",
            images=(image,),
            inputs=(image,),
            question=facts["prompt"].replace(MARK, "").strip(),
            label="level unknown" if level is None else f"level {level}",
            meta={
                "source": image.relative_to(self.root).as_posix(),
                "plan": facts["plan"],
                "plan_from": facts["plan_from"],
                **({} if level is None else {"level": level}),
                **({} if grid is None else {"map_desc": grid}),
            },
        )

    def _facts(self, row: vsp.VspRow) -> dict[str, Any] | str:
        """What a record is made of, or the rule that rejects the row."""
        if not is_writable(row.id, row.text_input, row.text_output, row.map_desc):
            return "not_unicode"
        if not row.text_input.replace(MARK, "").strip():
            return "no_question"
        if row.text_input.count(MARK) > 1:
            return "marks"
        if row.map_desc is not None and not is_map(row.map_desc):
            return "map"
        facts: dict[str, Any] = {
            "image": str(row.image),
            "prompt": row.text_input,
            "level": row.level,
            "map_desc": row.map_desc,
        }
        if row.text_output:
            written = (boxed(row.text_output) or [""])[-1]
            plan = "".join(letter for letter in written.upper() if letter.isalpha())
            # Words hold the letters of moves too.
            if not plan or set(plan) - set("LRUD"):
                return "no_plan"
            return {**facts, "plan": plan, "written": _box(written), "plan_from": "row"}
        plan_found = shortest_plan(row.map_desc) if row.map_desc is not None else None
        if plan_found is None:
            return "no_plan"
        return {**facts, "plan": plan_found, "written": _box(plan_found), "plan_from": "search"}


def _box(text: str) -> str:
    return rf"\boxed{{{text}}}"


def is_map(grid: Any) -> bool:
    """Whether this is a rectangle of cells with one start and one goal."""
    if not isinstance(grid, list) or not all(isinstance(row, list) for row in grid):
        return False
    cells = [cell for row in grid for cell in row]
    # `True == 1`, and JSON has both.
    numbers = all(type(cell) is int and cell in (_START, _GOAL, _HOLE, _ICE) for cell in cells)
    one = cells.count(_START) == cells.count(_GOAL) == 1
    return numbers and one and len({len(row) for row in grid}) == 1


def shortest_plan(grid: list[list[int]]) -> str | None:
    """Search a map for a shortest way that meets no hole, breadth first.

    Args:
        grid: rows of cells: 1 start, 2 goal, -1 hole, 0 ice.

    Returns:
        Moves D, R, U and L, those earlier in this order first where several ways are shortest; None where
        there is no way.
    """
    cells = {(i, j): cell for i, row in enumerate(grid) for j, cell in enumerate(row)}
    start = next(place for place, cell in cells.items() if cell == _START)
    ways, front = {start: ""}, [start]
    while front:
        following = []
        for place in front:
            if cells[place] == _GOAL:
                return ways[place]
            for move, down, right in _STEPS:
                step = (place[0] + down, place[1] + right)
                if cells.get(step, _HOLE) != _HOLE and step not in ways:
                    ways[step] = ways[place] + move
                    following.append(step)
        front = following
    return None
