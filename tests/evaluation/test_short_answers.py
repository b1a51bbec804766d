"""Yes and no, numbers, and texts of options."""

from __future__ import annotations

import pytest

from latentvr.data.record import Record
from latentvr.evaluation.answer_rules import RULES, find_rule
from latentvr.evaluation.metrics import judge

COLOURS = ("red", "blue", "dark green", "yellow")


def record(answer: str, answer_type: str = "mcq", **more: object) -> Record:
    return Record("r1", "t", "test", (), "?", answer, answer_type, **more)  # type: ignore[arg-type]


NUMBER = record("9", "number")
YES, NO = record("yes", "yesno"), record("No", "yesno")
OPTION = record("dark green", "text", choices=COLOURS)


def check(rule: str, text: str, answer: str | None, of: Record) -> None:
    """An answer is found, and right, exactly where the table says so."""
    reader = find_rule(rule)
    assert reader.extract(text, of) == answer
    assert reader.correct(text, of) is (answer is not None and answer == reader.expected(of))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("9", "9"), (" 9 ", "9"), ("9.", "9"), ("09", "09"), ("9.0", "9"), ("9.5", "9"), ("-9", "9"),
        ("+9", "9"), ("1,234", "1"), ("There are 9.", "9"), ("In image 2 there are 9", "2"),
        ("9 of 12", "9"), ("12 or 9", "12"), ("x9y", "9"), ("9th", "9"), ("<answer>9</answer>", "9"),
        ("<answer>8</answer> 9", "8"), ("nine", None), ("", None), ("none", None), ("IX", None),
        ("1e9", "1"), ("\n9", "9"), ("\uff19", "\uff19"), ("²", None), ("9\u0301", "9"), ("99", "99"),
        ("9 9", "9"), ("#9", "9"), ("3\u20149", "3"),
    ],
)  # fmt: skip
def test_first_integer(text: str, answer: str | None) -> None:
    check("first_integer", text, answer, NUMBER)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("9", "9"), (" 9\n", "9"), ("9.", "9"), ("9.0", "9"), ("09", "9"), ("**9**", "9"), ('"9"', "9"),
        ("(9)", "9"), ("nine", "9"), ("Nine.", "9"), ("<answer>9</answer>", "9"),
        ("<answer> nine </answer> 8", "9"), ("90", "90"), ("1,234", "1234"), ("-9", "-9"), ("9.5", "9.5"),
        ("twenty-one", "21"), ("twenty one", "21"), ("one nine", "one nine"),
        ("There are 9", "there are 9"), ("There are nine", "there are nine"), ("9 dogs", "9 dogs"),
        ("9 or 8", "9 or 8"), ("3-4", "3 4"), ("1,2", "1 2"), ("9/1", "9 1"), ("9 9", "9 9"),
        ("nine nine", "nine nine"), ("9th", "9th"), ("hundred", "hundred"),
        ("nine hundred", "nine hundred"), ("", None), ("...", None), ("<answer></answer>9", None),
        ("Answer: 9", "answer 9"), ("\uff19", "9"),
    ],
)  # fmt: skip
def test_exact_match_of_numbers(text: str, answer: str | None) -> None:
    check("exact_match", text, answer, NUMBER)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("the Red cat", "red cat"), ("red cat.", "red cat"), ("RED  CAT", "red cat"),
        ("<answer>red cat</answer>", "red cat"), ("a red-cat", "red cat"), ("red cats", "red cats"),
        ("It is a red cat", "it is red cat"), ("", None), ("!?", None),
    ],
)  # fmt: skip
def test_exact_match_of_texts(text: str, answer: str | None) -> None:
    check("exact_match", text, answer, record("A red cat", "text"))


@pytest.mark.parametrize(
    ("text", "starts", "last_line"),
    [
        ("Yes", "yes", "yes"), ("no", "no", "no"), (" YES.", "yes", "yes"),
        ("No, it does not fit", "no", "no"), ("Yes, no doubt", "yes", None), ("Note that yes", "no", None),
        ("Not sure", "no", "no"), ("I know", None, "no"), ("yesterday", "yes", "yes"),
        ("The answer is yes", None, "yes"), ("Answer: no", None, "no"), ("", None, None),
        ("Maybe", None, None), ("It fits.\nAnswer: yes", None, "yes"),
        ("yes\nbut then\nAnswer: no", "yes", "no"), ("Answer: yes\n\n", None, "yes"),
        ("no\nit is", "no", None), ("yes or no", "yes", None), ("y", None, None),
        ("<answer>yes</answer>", None, "yes"), ("<answer> No </answer> yes", None, "no"),
        ("<answer>yes", None, "yes"), ("no <answer>yes</answer> no", "no", "yes"),
        ("<answer>yes</answer><answer>no</answer>", None, "yes"),
        ("<answer><answer>yes</answer></answer>", None, "yes"), ("<ANSWER>NO</ANSWER>", None, "no"),
        ("<think>no</think>yes", None, "yes"), ("no</think> yes", "no", "yes"),
        ("<think>no\nyes", None, "yes"), ("<thought>no</thought>\nyes", None, "yes"),
        ("<think>no", None, "no"), ("</think></think>no", None, "no"),
        ("<|lvr_start|><|lvr_end|>yes", None, "yes"), ("ye s", None, None), ("\u00a0yes", "yes", "yes"),
        ("**Yes**", None, "yes"), ("yes\r\nno", "yes", "no"), ("cannot", None, "no"),
        ("eyes", None, "yes"), ("YES\x00", "yes", "yes"), ("\uff59\uff45\uff53", None, None),
    ],
)  # fmt: skip
def test_yes_and_no(text: str, starts: str | None, last_line: str | None) -> None:
    for of in (YES, NO):
        check("starts_with_yes_or_no", text, starts, of)
        check("last_line_yes_or_no", text, last_line, of)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("dark green", "dark green"), ("Dark Green", "dark green"), (" dark green\n", "dark green"),
        ("C. dark green", "dark green"), ("c. DARK GREEN", "dark green"), ("A. dark green", "dark green"),
        ("A. red", "red"), ("red", "red"), ("A red", None), ("C.dark green", None),
        ("C) dark green", None), ("dark green.", None), ("dark  green", None), ("The dark green", None),
        ("C", None), ("C.", None), ("", None), ("C. ", None), ("green", None), ("C. C. dark green", None),
        ("<answer>dark green</answer>", "dark green"),
        ("<answer>red</answer><answer>C. dark green</answer>", "dark green"),
        ("<answer>dark green", "dark green"), ("C.\ndark green", "dark green"), ("dark\u00a0green", None),
        ("dark green\x00", None), ("1. dark green", None), ("CC. dark green", None),
    ],
)  # fmt: skip
def test_option_text(text: str, answer: str | None) -> None:
    check("option_text", text, answer, OPTION)


@pytest.mark.parametrize("answer", ["dark green", "Dark green", "C", "(C)", "C. dark green"])
def test_the_right_option_may_be_written_in_any_form(answer: str) -> None:
    for answer_type in ("text", "mcq"):
        assert RULES["option_text"].expected(record(answer, answer_type, choices=COLOURS)) == "dark green"


def test_option_text_without_options_takes_any_text() -> None:
    assert judge(record("left", "text"), "B. Left", "option_text").correct
    assert judge(record("left", "text"), "right", "option_text").answer == "right"
