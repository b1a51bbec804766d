"""The last box holds the plan, and the plan is walked on the map."""

from __future__ import annotations

import pytest

from latentvr.data.record import Record
from latentvr.evaluation.answer_rules import RULES
from latentvr.evaluation.metrics import judge

LAKE = [[1, 0, -1], [0, -1, 0], [0, 0, 2]]


def record(answer: str, answer_type: str = "mcq", **more: object) -> Record:
    return Record("r1", "t", "test", (), "?", answer, answer_type, **more)  # type: ignore[arg-type]


PLAN = record("DDRR", "path", meta={"map_desc": LAKE})


@pytest.mark.parametrize(
    ("text", "answer", "arrives"),
    [
        (r"\boxed{DDRR}", "DDRR", True), (r"\boxed{D,D,R,R}", "DDRR", True),
        (r"\boxed{D -> D -> R -> R}", "DDRR", True),
        (r"so \boxed{Down, Down, Right, Right}.", "DDRR", True),
        (r"\boxed{RR} no, \boxed{DDRR}", "DDRR", True), (r"\boxed{DDRR} or \boxed{RR}", "RR", False),
        (r"\boxed{\text{DD}, \text{RR}}", "DDRR", True), (r"\boxed{DDR}", "DDR", False),
        (r"\boxed{DDRRL}", "DDRRL", False), (r"\boxed{DDRRR}", "DDRRR", True),
        (r"\boxed{LUDDRR}", "LUDDRR", True), (r"\boxed{DRDR}", "DRDR", False),
        (r"\boxed{RDDR}", "RDDR", False), (r"\boxed{D and D, R and R}", "DDRR", True),
        (r"\boxed{ddrr}", None, False), (r"\boxed{}", None, False), (r"\boxed{down}", None, False),
        ("DDRR", None, False), ("", None, False), (r"\boxed{DDRR", None, False),
        (r"\boxed{DDRR} \boxed{RR", "DDRR", True), (r"\boxed{DDRR} \boxed{}", None, False),
        (r"\boxed {DDRR}", None, False), (r"\fbox{DDRR}", None, False),
        (r"\boxed{\boxed{DDRR}}", "DDRR", True), (r"}}\boxed{DDRR}", "DDRR", True),
        (r"{\boxed{DDRR}", "DDRR", True), (r"$\boxed{D\,D\,R\,R}$", "DDRR", True),
        (r"<answer>\boxed{DDRR}</answer>", "DDRR", True), (r"boxed{DDRR}", None, False),
        ("\\boxed{D\nD\nR\nR}", "DDRR", True), (r"\boxed{↓↓→→}", None, False),
    ],
)  # fmt: skip
def test_boxed_plan(text: str, answer: str | None, arrives: bool) -> None:
    assert RULES["boxed_plan"].extract(text, PLAN) == answer
    assert RULES["boxed_plan"].correct(text, PLAN) is arrives


def test_a_plan_is_right_wherever_it_goes_if_it_ends_on_the_goal() -> None:
    free = record("", "path", meta={"map_desc": LAKE})
    made = judge(free, r"\boxed{DDLRR}", "boxed_plan")
    assert (made.correct, made.expected, made.rule) == (True, "", "boxed_plan")
    assert RULES["boxed_plan"].expected(PLAN) == "DDRR"
