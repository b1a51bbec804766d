"""The published reading of answers, and the published instructions."""

from __future__ import annotations

from typing import Any

import pytest

from latentvr.data.record import Record
from latentvr.evaluation.benchmarks.registry import find
from latentvr.evaluation.metrics import judge

FILE = "eval_parse.json"
OPTIONS = ("red", "blue", "green", "white", "black")


def test_every_answer_is_read_as_published(golden: Any) -> None:
    cases = golden.json(FILE).get("cases")
    if not cases:
        pytest.skip(f"no cases in {golden.existing(FILE)}")
    records = [Record("r", "t", "test", (), "?", case["label"], "mcq", choices=OPTIONS) for case in cases]
    rule = "answer_tag_first_character"
    made = [judge(of, case["response"], rule) for of, case in zip(records, cases, strict=True)]
    wrong = [case for case, one in zip(cases, made, strict=True) if one.correct is not case["correct"]]
    assert wrong == []


def test_every_question_ends_with_the_published_instruction(golden: Any) -> None:
    instructions = golden.json(FILE).get("instruction")
    if not instructions:
        pytest.skip(f"no instructions in {golden.existing(FILE)}")
    meta = {"options_line": "A. red B. blue"}
    asked = Record("r", "t", "test", (), "?", "A", "mcq", question="Q", choices=OPTIONS[:2], meta=meta)
    for name, instruction in instructions.items():
        style = find(name).style("lvr")
        assert style.prompt(asked).endswith(instruction), name
        assert style.rule_of(asked) == "answer_tag_first_character"
