"""What each rule takes out of texts that models write, and out of texts that nobody should write."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from latentvr.data.record import Record
from latentvr.errors import RecordError, UserError
from latentvr.evaluation.answer_rules import RULES, find_rule
from latentvr.evaluation.metrics import judge
from latentvr.evaluation.time_limit import limited

COLOURS = ("red", "blue", "dark green", "yellow")
OUTLINE = "[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]"
LAKE = [[1, 0, -1], [0, -1, 0], [0, 0, 2]]


def record(answer: str, answer_type: str = "mcq", **more: object) -> Record:
    return Record("r1", "t", "test", (), "?", answer, answer_type, **more)  # type: ignore[arg-type]


LETTER = record("B", choices=COLOURS)
TWO = record("B", choices=("open", "closed"))
NUMBER = record("9", "number")
YES, NO = record("yes", "yesno"), record("No", "yesno")
REGION = record(OUTLINE, "text")
PLAN = record("DDRR", "path", meta={"map_desc": LAKE})
OPTION = record("dark green", "text", choices=COLOURS)
RECORDS = {
    "native": LETTER,
    "first_letter": LETTER,
    "letter_search_two": TWO,
    "letter_search_four": LETTER,
    "answer_tag_first_character": LETTER,
    "single_letter_or_option": LETTER,
    "first_integer": NUMBER,
    "exact_match": NUMBER,
    "starts_with_yes_or_no": YES,
    "last_line_yes_or_no": NO,
    "option_text": OPTION,
    "point_in_region": REGION,
    "any_json_point_in_region": REGION,
    "boxed_plan": PLAN,
}


@pytest.mark.parametrize(
    ("rule", "of", "named"),
    [
        ("first_letter", record("hidden", choices=COLOURS), "letter of an option"),
        ("letter_search_four", record("", choices=COLOURS), "letter of an option"),
        ("first_integer", record("many", "number"), "digits"),
        ("exact_match", record("...", "text"), "a letter or a digit"),
        ("starts_with_yes_or_no", record("maybe", "yesno"), '"yes" or "no"'),
        ("last_line_yes_or_no", REGION, '"yes" or "no"'),
        ("option_text", record(" ", "text"), "an option's text"),
        ("point_in_region", record("[(0.1, 0.2), (0.3, 0.2)]", "text"), "an outline"),
        ("point_in_region", record("yes", "text"), "an outline"),
        ("any_json_point_in_region", record("[(0.1, 0.2), x, (0.3, 0.2), (0, 0)]", "text"), "an outline"),
        ("boxed_plan", record("LL", "path"), "meta.map_desc"),
        ("boxed_plan", record("LL", "path", meta={"map_desc": [[0, 2]]}), "one start"),
    ],
)
def test_a_record_that_a_rule_cannot_compare_with_is_an_error_whatever_was_written(
    rule: str, of: Record, named: str
) -> None:
    for text in ("", "yes", r"\boxed{L}", "(0.5, 0.5)"):
        with pytest.raises(RecordError, match=rf"expected .*{named}.*, at record 'r1'; fix: "):
            judge(of, text, rule)


def test_an_unknown_rule_is_named_with_one_that_is_meant() -> None:
    with pytest.raises(UserError, match=r"first_letter.*got 'first_leter'.*did you mean first_letter\?"):
        find_rule("first_leter")
    with pytest.raises(UserError, match="got '\\\\x1b"):
        judge(LETTER, "B", "\x1b[2J")


def test_every_rule_has_its_own_id() -> None:
    assert [rule.id for rule in RULES.values()] == list(RULES)
    assert set(RULES) == set(RECORDS)


@pytest.mark.parametrize("rule", RULES)
def test_what_is_expected_is_found_and_right(rule: str) -> None:
    of, wrong = RECORDS[rule], "\x00"
    text = {
        "boxed_plan": r"\boxed{DDRR}",
        "point_in_region": "(0.5, 0.5)",
        "any_json_point_in_region": '```json\n[{"point_2d": [500, 500]}]\n```',
    }.get(rule, of.answer)
    made = judge(of, text, rule)
    assert (made.correct, made.failed, made.rule) == (True, False, rule)
    made = judge(of, wrong, rule)
    assert (made.correct, made.failed, made.answer) == (False, True, None)


PIECES = [
    "A", "b", "(", ")", "[", "]", "{", "}", ".", ",", ":", " ", "\n", "answer", "is", "option", "<answer>",
    "</answer>", "</answer", "\\boxed{", "\\text{", "yes", "no", "```", "```json\n", '{"point_2d": [',
    "0.5", "1e999", "-", "9", "nine", "NaN", "\0", "\ud800", "\u0130", "ß", "\u202e", "\U0001f600",
    "</think>", "red", "dark green", "Z", "'", '"', "\\", "é", "²", "٣",
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_no_text_makes_a_rule_fail(rule: str) -> None:
    draws = random.Random(rule)  # noqa: S311 - the same texts in every run
    of, reader = RECORDS[rule], RULES[rule]
    for _ in range(400):
        pieces = [draws.choice(PIECES) for _ in range(draws.randint(0, 25))]
        text = "".join(pieces + [chr(draws.randrange(0x110000)) for _ in range(draws.randint(0, 3))])
        answer = reader.extract(text, of)
        assert answer is None or answer
        assert not (answer is None and reader.correct(text, of)), ascii(text)


UNITS = [
    " ", "(", "( ", "A ", "A  ", "answer ", "answer is ", "option ", "9", "(9", "(9, ", "[[", "[9,",
    "<answer>", "</answer", "{", "}", "\\boxed{", "\\boxed{L", "```\n", "``", "</think>", "\u0130", "9.",
    "(A", "no",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rule", sorted(set(RULES) - {"native"}))
def test_a_million_characters_take_linear_time(rule: str) -> None:
    """Quadratic time would be hours; `native` has a test of its own, with its own limits."""
    of, reader = RECORDS[rule], RULES[rule]

    def call(text: str) -> Callable[[], str | None]:
        return lambda: reader.extract(text, of)

    for unit in UNITS:
        text = unit * (1_000_000 // len(unit))
        limited(call(text), 20)
        limited(call(f"({text}!"), 20)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ("boxed_plan",)])
def test_an_answer_in_tags_is_read_by_every_rule(rule: str) -> None:
    """Models that were trained to write the tags must not fail under rules that do not know them."""
    golds = {
        "first_integer": ("7", "number"),
        "exact_match": ("7", "number"),
        "option_text": ("left", "text"),
    }
    gold, kind = golds.get(rule, ("no", "yesno") if "yes" in rule else ("B", "mcq"))
    said = {
        "point_in_region": "(0.7, 0.3)",
        "any_json_point_in_region": '```json\n[{"point_2d": [700, 300]}]\n```',
    }.get(rule, gold)
    if "point" in rule:
        gold, kind = "[(0, 0), (1, 0), (1, 1)]", "text"
    choices = ("left", "right") if kind != "number" else ()
    record = Record("r", "t", "test", (), "?", gold, kind, choices=choices)  # type: ignore[arg-type]
    made = judge(record, f"<|latent|> Answer: A 3 yes <answer>{said}</answer>", rule)
    assert made.correct
    assert made.text.endswith("</answer>")
