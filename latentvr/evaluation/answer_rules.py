"""Rules that read an answer out of a text and compare it, by id.

A figure belongs to its rule: harnesses read the same text differently, so the id is stored beside each
prediction. `docs/benchmarks.md` says who uses which rule. Rules never guess and never fail on a text: what
they cannot read is no answer, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentvr.config.suggest import close, sentence
from latentvr.data.record import Record
from latentvr.errors import UserError
from latentvr.evaluation import boxed_plan, letters, points, short_answers
from latentvr.evaluation.extract import expected_answer, extract, is_correct


@dataclass(frozen=True)
class Rule:
    """One way to read answers.

    Attributes:
        id: its name.
        extract: gives the answer that a text holds in one form, or None where the rule finds none.
        correct: whether a text answers a record rightly.
        expected: gives the record's own answer in the same form; a RecordError where it has none.
        reads_tags: whether it looks for `<answer>` itself; others are given what stands in the last one.
    """

    id: str
    extract: Callable[[str, Record], str | None]
    correct: Callable[[str, Record], bool]
    expected: Callable[[Record], str]
    reads_tags: bool = False


def _same(
    id: str, take: Callable[[str, Record], str | None], expected: Callable[[Record], str]
) -> tuple[str, Rule]:
    """A rule by which an answer is right if it is the expected one, letter by letter."""

    def correct(text: str, record: Record) -> bool:
        return take(text, record) == expected(record)

    return id, Rule(id, take, correct, expected)


def _of_text(take: Callable[[str], str | None]) -> Callable[[str, Record], str | None]:
    """The record does not matter to what is taken."""
    return lambda text, _: take(text)


def _native() -> Rule:
    def take(text: str, record: Record) -> str | None:
        return extract(text, record.answer_type, record.choices)

    def correct(text: str, record: Record) -> bool:
        return is_correct(text, record) is True

    return Rule("native", take, correct, expected_answer, reads_tags=True)


def _point_in_region() -> Rule:
    def take(text: str, _: Record) -> str | None:
        point = points.first_point(text)
        return points.written([point]) if point else None

    def correct(text: str, record: Record) -> bool:
        point = points.first_point(text)
        return points.in_region(point or (-1.0, -1.0), record) and point is not None

    return Rule("point_in_region", take, correct, _expected_region)


def _any_json_point_in_region() -> Rule:
    def take(text: str, _: Record) -> str | None:
        return points.written(_json_points(text)) or None

    def correct(text: str, record: Record) -> bool:
        points.outline(record)
        return any(points.in_region(point, record) for point in _json_points(text))

    return Rule("any_json_point_in_region", take, correct, _expected_region)


def _json_points(text: str) -> list[points.Point]:
    return points.json_points(short_answers.without_thought(text))


def _expected_region(record: Record) -> str:
    return points.written(points.outline(record))


def _boxed_plan() -> Rule:
    take = _of_text(boxed_plan.boxed_plan)
    return Rule("boxed_plan", take, boxed_plan.arrives, boxed_plan.gold_plan)


def _tagged_letter() -> Rule:
    id, rule = _letter("answer_tag_first_character", letters.answer_tag_first_character)
    return Rule(id, rule.extract, rule.correct, rule.expected, reads_tags=True)


def _letter(id: str, take: Callable[[str], str | None]) -> tuple[str, Rule]:
    return _same(id, _of_text(take), letters.gold_letter)


def _single_letter_or_option(text: str, record: Record) -> str | None:
    return letters.single_letter_or_option(text, record.choices)


#: All rules by id.
RULES: dict[str, Rule] = {
    "native": _native(),
    "answer_tag_first_character": _tagged_letter(),
    **dict(
        [
            _letter("first_letter", letters.first_letter),
            _letter("letter_search_two", letters.letter_search_two),
            _letter("letter_search_four", letters.letter_search_four),
            _same("single_letter_or_option", _single_letter_or_option, letters.gold_letter),
            _same("first_integer", _of_text(short_answers.first_integer), short_answers.gold_integer),
            _same("exact_match", short_answers.exact_match, short_answers.gold_text),
            _same(
                "starts_with_yes_or_no",
                _of_text(short_answers.starts_with_yes_or_no),
                short_answers.gold_yes_or_no,
            ),
            _same(
                "last_line_yes_or_no",
                _of_text(short_answers.last_line_yes_or_no),
                short_answers.gold_yes_or_no,
            ),
            _same("option_text", short_answers.option_text, short_answers.gold_option),
        ]
    ),
    "point_in_region": _point_in_region(),
    "any_json_point_in_region": _any_json_point_in_region(),
    "boxed_plan": _boxed_plan(),
}


def find_rule(id: str) -> Rule:
    """Give a rule.

    Args:
        id: one of `RULES`.

    Returns:
        The rule.

    Raises:
        UserError: there is none of this id.
    """
    if id not in RULES:
        raise UserError(
            f"expected a rule of {', '.join(RULES)}, got {id!a}, at the rule for answers; "
            f"fix: choose one of them{sentence(close(id, list(RULES)))}"
        )
    return RULES[id]
