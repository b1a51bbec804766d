"""Answers are taken out of texts by stated rules, or not at all."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from latentvr.data.record import Record
from latentvr.errors import RecordError
from latentvr.evaluation.extract import expected_answer, extract, is_correct

ANIMALS = ("a red cat", "a dog", "the bird", "a fish")


@pytest.fixture
def deadline() -> Iterator[None]:
    """Kill a test whose regular expression backtracks without end."""
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        (" b ", "B"),
        ("(A)", "A"),
        ("A.", "A"),
        ("**C**", "C"),
        ("B. a dog", "B"),
        ("(c) the bird", "C"),
        ("A) because of its colour", "A"),
        ("Answer: B", "B"),
        ("answer:\nB.", "B"),
        ("the answer is (C)", "C"),
        ("The correct answer is **D**.", "D"),
        ("The answer is option B because it barks", "B"),
        ("Answer: A. No wait, the answer is B.", "B"),
        ("a dog", "B"),
        ("The Dog.", "B"),
        ("The answer is a dog.", "B"),
        ("It must be option C", "C"),
        ("It is (D), as the fins show", "D"),
        ("I think it is B", "B"),
        ("A is right", "A"),
        ("B is right", "B"),
        ("I am sure of (c)", "C"),
        ("<answer>A</answer> or rather <answer> (D) </answer> as said", "D"),
        ("B <answer>C", "C"),
    ],
)
def test_letters_are_found(text: str, letter: str) -> None:
    assert extract(text, "mcq", ANIMALS) == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "E",
        "(E)",
        "Answer: Z",
        "A dog barks",
        "I cannot tell",
        "A or B",
        "The answer is A or B",
        "(A) or (B)",
        "option A or option B",
        "The answer is (A) or (B)",
        "Option A is wrong, B too",
        "Not (a), rather C",
        "because",
        "B <answer></answer>",
        "<answer>none</answer> B",
        "42",
    ],
)
def test_a_letter_is_never_guessed(text: str) -> None:
    assert extract(text, "mcq", ANIMALS) is None


def test_an_ambiguous_option_text_is_no_answer() -> None:
    assert extract("red", "mcq", ("red", "Red.")) is None


def test_without_options_any_letter_counts() -> None:
    assert extract("(Z)", "mcq") == "Z"
    assert extract("I think so: Z", "mcq") == "Z"
    assert extract("I", "mcq") == "I"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", "3"),
        ("There are 3 apples", "3"),
        ("There are three apples.", "3"),
        ("Zero", "0"),
        ("twenty", "20"),
        ("twenty-one dogs", "21"),
        ("forty two", "42"),
        ("2 cats and 3 dogs, so the answer is 5", "5"),
        ("The answer is the sum of 2 and 3", "2"),
        ("2 cats and 3 dogs", "2"),
        ("this one shows 3", "3"),
        ("1,234", "1234"),
        ("1,2,3", "1"),
        ("007", "7"),
        ("3.50", "3.5"),
        ("3.0", "3"),
        ("-2", "-2"),
        ("-0", "0"),
        ("3-4 cars", "3"),
        ("about...5", "5"),
        ("In image2 the 3rd row holds 4", "4"),
        ("<answer>6</answer> of 7", "6"),
    ],
)
def test_numbers_are_found(text: str, number: str) -> None:
    assert extract(text, "number") == number


@pytest.mark.parametrize("text", ["", "many", "image2", "the 3rd", "one hundred", "a dozen", "someone", "²"])
def test_a_number_is_never_guessed(text: str) -> None:
    assert extract(text, "number") is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes", "yes"),
        ("no.", "no"),
        ("Yes, there is no doubt", "yes"),
        ("There is no cat", "no"),
        ("Some say yes, some say no; the answer is: no", "no"),
        ("yes and no", "yes"),
        ("It could be yes or no", None),
        ("nothing", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_yes_and_no(text: str, word: str | None) -> None:
    assert extract(text, "yesno") == word


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("The red Cat!", "red cat"),
        ("Answer: red_cat", "red cat"),
        ("the answer is a cat", "cat"),
        ("Straße", "strasse"),
        ("don\u2019t", "dont"),
        ("A", "a"),
        ("...", None),
    ],
)
def test_text_is_folded(text: str, folded: str | None) -> None:
    assert extract(text, "text") == folded


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("L,R,U", "LRU"),
        (r"First \boxed{L}, finally \boxed{Down, D, Right}", "DDR"),
        ("Left is best", None),
        (r"\boxed{}", None),
    ],
)
def test_plans(text: str, plan: str | None) -> None:
    assert extract(text, "path") == plan


def record(answer: str, answer_type: str, **more: object) -> Record:
    return Record("r1", "t", "test", (), "?", answer, answer_type, **more)  # type: ignore[arg-type]


def test_an_answer_may_be_written_in_either_form() -> None:
    question = record("(B)", "mcq", choices=ANIMALS)
    assert is_correct("a dog", question) is True
    assert is_correct("C", question) is False
    assert is_correct("well", question) is None
    assert is_correct("three", record("3", "number")) is True


def test_a_plan_is_carried_out_on_the_map_of_the_record() -> None:
    grid = [[1, -1], [0, 2]]
    with_map = record("DR", "path", meta={"map_desc": grid})
    assert is_correct("LDR", with_map) is True  # off the grid: nothing happens
    assert is_correct("RD", with_map) is False
    assert is_correct("D", with_map) is False
    assert is_correct("LDR", record("DR", "path")) is False


def test_a_bad_map_is_an_error() -> None:
    with pytest.raises(RecordError, match="one start"):
        is_correct("L", record("L", "path", meta={"map_desc": [[0, 2]]}))


def test_a_record_without_a_usable_answer_is_an_error() -> None:
    with pytest.raises(RecordError, match=r"type mcq, got 'hidden', at record 'r1'; fix: "):
        expected_answer(record("hidden", "mcq", choices=ANIMALS))


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("answer_type", ["mcq", "number", "yesno", "text", "path"])
@pytest.mark.parametrize(
    "unit",
    [
        " ", "(", "*", "A ", "A\t\t", "answer ", "answer is ", "option ", "1,111", "9", "9.", "-", "twenty ",
        "<answer>", "</answer", "\\boxed{", "\\boxed{L", "(A", "\ufdfa", "the ", "_",
    ],
)  # fmt: skip
def test_hostile_texts_of_10_kb_take_no_time(unit: str, answer_type: str) -> None:
    text = unit * (10_000 // len(unit))
    extract(text, answer_type, ANIMALS)  # type: ignore[arg-type]
    extract(text + "!", answer_type, ANIMALS)  # type: ignore[arg-type]
