"""Letters as harnesses read them: what is right, what is wrong, and what is no answer."""

from __future__ import annotations

import pytest

from latentvr.data.record import Record
from latentvr.evaluation.answer_rules import RULES, find_rule

COLOURS = ("red", "blue", "dark green", "yellow")


def record(answer: str, answer_type: str = "mcq", **more: object) -> Record:
    return Record("r1", "t", "test", (), "?", answer, answer_type, **more)  # type: ignore[arg-type]


LETTER = record("B", choices=COLOURS)
TWO = record("B", choices=("open", "closed"))


def check(rule: str, text: str, answer: str | None, of: Record) -> None:
    """An answer is found, and right, exactly where the table says so."""
    reader = find_rule(rule)
    assert reader.extract(text, of) == answer
    assert reader.correct(text, of) is (answer is not None and answer == reader.expected(of))


# Each row: a text, and what the rules native, first_letter, answer_tag_first_character,
# single_letter_or_option and letter_search_four take out of it; the options are COLOURS.
LETTER_RULES = (
    "native",
    "first_letter",
    "answer_tag_first_character",
    "single_letter_or_option",
    "letter_search_four",
)
LETTERS: list[tuple[str, str | None, str | None, str | None, str | None, str | None]] = [
    ("B", "B", "B", "B", "B", "B"),
    ("b", "B", "B", "b", None, "B"),
    ("  B \n", "B", "B", "B", "B", "B"),
    ("\n\nB", "B", "B", "B", "B", "B"),
    ("(B)", "B", "B", None, "B", "B"),
    ("((B))", "B", "B", None, "B", "B"),
    ("( b )", "B", "B", None, None, "B"),
    ("[B]", "B", None, None, "B", "B"),
    ("B.", "B", "B", "B", "B", "B"),
    ("B. blue", "B", "B", "B", "B", "B"),
    ("B) blue", "B", "B", "B", "B", "B"),
    ("(B) blue", "B", "B", None, "B", "B"),
    ("B: blue", "B", "B", "B", "B", "B"),
    ("**B**", "B", None, None, "B", "B"),
    ('"B"', "B", None, None, None, "B"),
    ("The answer is B", "B", "T", "T", "B", "B"),
    ("The answer is B.", "B", "T", "T", "B", "B"),
    ("The answer is (B).", "B", "T", "T", "B", "B"),
    ("the answer is b", None, "T", "t", None, "B"),
    ("Answer: B", "B", "A", "A", "B", "A"),
    ("Option B", "B", "O", "O", "B", "B"),
    ("It is B", "B", "I", "I", "B", "B"),
    ("blue", "B", "B", "b", "B", "B"),
    ("Blue.", "B", "B", "B", "B", "B"),
    ("red", "A", "R", "r", "A", "D"),
    ("It is dark green", None, "I", "I", "C", None),
    ("red or blue", None, "R", "r", None, None),
    ("reddish", None, "R", "r", "A", None),
    ("(A) or (B)", None, "A", None, None, "A"),
    ("A or B", None, "A", "A", None, "A"),
    ("A, B", None, "A", "A", None, "A"),
    ("Not A but B", "B", "N", "N", None, "A"),
    ("B or not", "B", "B", "B", "B", "B"),
    ("A red thing", None, "A", "A", "A", "A"),
    ("A thing that nobody has ever seen", None, "A", "A", None, "A"),
    ("E", None, "E", "E", None, None),
    ("(E)", None, "E", None, None, None),
    ("Z", None, "Z", "Z", None, None),
    ("Z blue", None, "Z", "Z", None, "B"),
    ("B because one two three", "B", "B", "B", None, "B"),
    ("B because one two", "B", "B", "B", "B", "B"),
    ("I cannot tell", None, "I", "I", None, None),
    ("", None, None, None, None, None),
    ("   \n\t ", None, None, None, None, None),
    ("42", None, None, None, None, None),
    ("...", None, None, None, None, None),
    ("<answer>B</answer>", "B", None, "B", None, None),
    ("<answer> B </answer>", "B", None, "B", "B", "B"),
    ("<answer>\nB. blue\n</answer>", "B", None, "B", "B", "B"),
    ("<answer>(B)</answer>", "B", None, None, "B", "B"),
    ("<answer>b</answer>", "B", None, "b", None, None),
    ("<answer>A</answer> <answer>B</answer>", "B", None, "B", None, None),
    ("<answer><answer>B</answer></answer>", "B", None, "B", None, None),
    ("<answer>B", "B", None, "B", None, None),
    ("<answer></answer>", None, None, None, None, None),
    ("<answer>   </answer> B", None, None, None, "B", "B"),
    ("<ANSWER>B</ANSWER>", "B", None, None, None, None),
    ("B</answer> C", None, "B", "B", "C", "B"),
    ("<|lvr_start|><|lvr_end|>\n<answer> B </answer><|im_end|>", "B", None, "B", "B", "B"),
    ("<|lvr_start|><|lvr_end|>B", "B", None, None, None, None),
    ("\u00a0B", "B", "B", "B", "B", "B"),
    ("\uff22", None, None, None, None, None),
    ("\u0392", None, None, None, None, None),
    ("B\u0301", "B", "B", "B", None, "B"),
    ("\U0001f600 B", "B", None, None, "B", "B"),
    ("答案是 B", "B", None, None, "B", "B"),
    ("B\x00", "B", "B", "B", None, "B"),
    ("B" * 30, None, "B", "B", None, "B"),
]


@pytest.mark.parametrize("row", LETTERS, ids=lambda row: ascii(row[0])[:40])
def test_letters(row: tuple[str | None, ...]) -> None:
    text = str(row[0])
    found = {rule: RULES[rule].extract(text, LETTER) for rule in LETTER_RULES}
    assert found == dict(zip(LETTER_RULES, row[1:], strict=True))
    for rule, answer in found.items():
        assert RULES[rule].correct(text, LETTER) is (answer == "B")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B", "B"), ("b", "B"), ("(b)", "B"), ("(b", "B"), ("B.", "B"), ("(B).", "B"), (" B\n", "B"),
        ("b closed", "B"), ("B. closed", "B"), ("a door", "A"), ("A B", "A"), ("The answer is B", "B"),
        ("the answer is (b)", "B"), ("The answer is blue", "B"), ("answer\tis\nA", "A"), ("Option B", "B"),
        ("option about B", "A"), ("option (B)", "B"), ("I see a cab", "A"), ("I see the cab", "B"),
        ("Tuba", "A"), ("It is (B)", "B"), ("It is B)", "B"), ("It is B.", None), ("apple", "A"),
        ("bird", "B"), ("because", "B"), ("closed", None), ("open", None), ("", None), ("  ", None),
        ("C", None), ("<answer>B</answer>", None), ("<answer> B </answer>", "B"), ("42", None),
        ("Both", "B"), ("\u0412", None), ("The answer is not A", "A"), ("answer is option B", "B"),
    ],
)  # fmt: skip
def test_letter_search_two(text: str, answer: str | None) -> None:
    check("letter_search_two", text, answer, TWO)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Option B", "B"), ("choice: b", "C"), ("THE ANSWER IS: B", "B"), ("the answer is blue", "B"),
        ("answer is so", "A"), ("answer :: C", "A"), ("the answer :: C", "C"), ("option  is  B", "B"),
        ("optionB", "B"), ("optionB, I say: D", "D"), ("perhaps (c) or d.", "C"), ("it is c ]", "C"),
        ("it is c or so (d", "C"), ("it is c or so", "C"), ("\tdog", "D"), ("Yes", None), ("green", None),
        ("the blue", "B"), ("ﬀ b", "B"), ("answer\n\nB", "A"), ("the answer\n\nB", "B"),
    ],
)  # fmt: skip
def test_letter_search_four(text: str, answer: str | None) -> None:
    check("letter_search_four", text, answer, LETTER)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("I would say that it is B", "B"), ("B, I would say, is right", None), ("B B B B B B B", None),
        ("A A B", None), ("Red is what I see", "A"), ("it is not red but blue", None), ("RED", "A"),
        ("greenish red", "A"), ("yellow" * 9, None), ("z blue", "B"), ("Z", None), ("Z. blue", None),
        ("Z B", "B"), ("B#", "B"), ("{B}", "B"), ("B;", "B"), ("*B*", "B"), ("B-", None), ("B/", None),
        ("B'", None), ("[A] red; [B] blue", None), ("the option: B!", "B"), ("D?", None),
    ],
)  # fmt: skip
def test_single_letter_or_option(text: str, answer: str | None) -> None:
    check("single_letter_or_option", text, answer, LETTER)


def test_letters_beyond_the_options_count_where_a_rule_does_not_look_at_options() -> None:
    few = record("B", choices=("red", "blue"))
    found = {rule: RULES[rule].extract("C", few) for rule in LETTER_RULES}
    assert found == {
        "native": None,
        "first_letter": "C",
        "answer_tag_first_character": "C",
        "single_letter_or_option": None,
        "letter_search_four": "C",
    }


def test_letters_without_options() -> None:
    bare = record("(B)")
    assert [RULES[rule].correct("B", bare) for rule in LETTER_RULES] == [True] * 5
    assert RULES["single_letter_or_option"].extract("blue", bare) is None
