"""The page on benchmarks names what there is, and its examples are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latentvr.data.record import Record
from latentvr.evaluation.answer_rules import RULES
from latentvr.evaluation.benchmarks.registry import NAMES, find
from latentvr.evaluation.metrics import judge

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
LAKE = [[1, 0, -1], [0, -1, 0], [0, 0, 2]]


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_benchmark_is_told_with_its_measures() -> None:
    for heading in ("What there is", "Styles", "Measures"):
        assert [row[0].strip("`") for row in rows(heading)] == list(NAMES)


def test_styles_are_those_that_there_are() -> None:
    for name, *cells in rows("Styles"):
        told = {
            style: re.findall(r"`(\w+)`", cell)
            for style, cell in zip(("native", "lmms_eval", "lvr"), cells, strict=True)
            if cell
        }
        made = find(name.strip("`")).styles
        assert told == {style: [each.rule, *each.rules.values()] for style, each in made.items()}


def test_every_rule_is_told() -> None:
    assert [row[0].strip("`") for row in rows("Rules")] == list(RULES)


@pytest.mark.parametrize(
    ("rule", "text", "answer", "gold", "answer_type"),
    [
        ("native", "The answer is B", "B", "A", "mcq"),
        ("first_letter", "The answer is B", "T", "A", "mcq"),
        ("letter_search_two", "The answer is blue", "B", "A", "mcq"),
        ("letter_search_four", "Answer: B", "A", "B", "mcq"),
        ("answer_tag_first_character", "<answer>(B)</answer>", None, "B", "mcq"),
        ("single_letter_or_option", "It is B, or so it seems", None, "B", "mcq"),
        ("first_integer", "1,234", "1", "9", "number"),
        ("first_integer", "09", "09", "9", "number"),
        ("exact_match", "There are 9", "there are 9", "9", "number"),
        ("starts_with_yes_or_no", "Not sure", "no", "yes", "yesno"),
        ("last_line_yes_or_no", "I know", "no", "yes", "yesno"),
        ("option_text", "B. Left", "left", "right", "text"),
        ("option_text", "B", None, "right", "text"),
        ("point_in_region", "(500, 500)", "(500, 500)", "[(0, 0), (1, 0), (1, 1)]", "text"),
        ("boxed_plan", r"\boxed{D, D, R}", "DDR", "DDRR", "path"),
    ],
)
def test_examples_are_true(rule: str, text: str, answer: str | None, gold: str, answer_type: str) -> None:
    """None of them is right, so that reading and judging are both seen."""
    choices = ("left", "right")
    record = Record("r", "t", "test", (), "?", gold, answer_type, choices=choices, meta={"map_desc": LAKE})  # type: ignore[arg-type]
    made = judge(record, text, rule)
    assert (made.answer, made.correct) == (answer, False)
    (cell,) = [row[3] for row in rows("Rules") if row[0] == f"`{rule}`"]
    assert f"`{text}`" in cell
