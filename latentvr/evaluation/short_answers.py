"""Yes and no, numbers and texts of options as published scoring takes them out of a text."""

from __future__ import annotations

import re
import string

from latentvr.data.record import Record
from latentvr.errors import RecordError
from latentvr.evaluation.extract import extract, unwrapped
from latentvr.evaluation.normal_text import normal_text
from latentvr.evaluation.numbers import numbers

_DIGITS = re.compile(r"\d+")
_LEADING_LETTER = re.compile(r"[A-Za-z]\.\s")
_OPEN, _CLOSE = re.compile("<answer>", re.IGNORECASE), re.compile("</answer>", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", re.ASCII)
_AROUND = " \t\r\n*_`\"'()."


def starts_with_yes_or_no(text: str) -> str | None:
    """Take "yes" or "no" from the start of a text (official RoboSpatial); "Not sure" gives "no"."""
    lowered = text.strip().lower()
    return next((word for word in ("yes", "no") if lowered.startswith(word)), None)


def last_line_yes_or_no(text: str) -> str | None:
    """Take the one of "yes" and "no" that the last line holds (lmms-eval, RoboSpatial).

    What comes before the end of a `<think>` or `<thought>` is dropped, then the first complete `<answer>` is
    unwrapped. The words count inside others as well: "I know" holds "no".
    """
    lines = without_thought(text).lower().split("\n")
    held = [word for word in ("yes", "no") if word in lines[-1]]
    return held[0] if len(held) == 1 else None


def without_thought(text: str) -> str:
    """Drop what comes before the end of a thought; give the first complete `<answer>`, or all (lmms-eval)."""
    for mark in ("</think>", "</thought>"):
        before, found, after = text.partition(mark)
        text = after if found else before
    opening = _OPEN.search(text)
    closing = _CLOSE.search(text, opening.end()) if opening else None
    return (text[opening.end() : closing.start()] if opening and closing else text).strip()


def gold_yes_or_no(record: Record) -> str:
    """Give the record's "yes" or "no"; a RecordError where its answer is neither."""
    answer = record.answer.strip().lower()
    if answer not in ("yes", "no"):
        raise _wrong(record, 'that is "yes" or "no"')
    return answer


def first_integer(text: str) -> str | None:
    """Take the first digits as they are written (lmms-eval, PixMo-Count): "1,234" gives 1, "-3" gives 3."""
    found = _DIGITS.search(text)
    return found[0] if found else None


def gold_integer(record: Record) -> str:
    """Give the first digits of the record's answer; a RecordError where there are none."""
    digits = first_integer(record.answer)
    if digits is None:
        raise _wrong(record, "that holds digits")
    return digits


def exact_match(text: str, record: Record) -> str | None:
    """Take the whole answer, folded: a number for a question about one, else the text without case and signs.

    What stands in the last `<answer>` is the answer, or else the whole text. "nine", "9." and "9" are one
    answer to a question about a number; "There are 9" is another one, and wrong.
    """
    answer = unwrapped(text)
    folded = normal_text(answer)
    number = _number(answer, folded) if record.answer_type == "number" else None
    return number or folded or None


def gold_text(record: Record) -> str:
    """Give the record's answer as `exact_match` folds it; a RecordError where nothing is left of it."""
    answer = exact_match(record.answer, record)
    if answer is None:
        raise _wrong(record, "with a letter or a digit")
    return answer


def option_text(text: str, record: Record) -> str | None:
    """Take the text of an option (ViGoRL), in small letters and without a leading "A. ".

    What stands in the last `<answer>` counts, or else the whole text. Where the record has options, a text
    that is none of them is no answer.
    """
    answer = _bare_option(unwrapped(text))
    options = {_bare_option(choice) for choice in record.choices}
    known = not options or answer in options or answer == gold_option(record)
    return answer if answer and known else None


def gold_option(record: Record) -> str:
    """Give the text of the right option in small letters: the answer, or the option that its letter names."""
    answer = _bare_option(record.answer)
    if record.choices and answer not in {_bare_option(choice) for choice in record.choices}:
        letter = extract(record.answer, "mcq", record.choices)
        if letter is not None:
            answer = _bare_option(record.choices[string.ascii_uppercase.index(letter)])
    if not answer:
        raise _wrong(record, "that is an option's text or letter")
    return answer


def _bare_option(text: str) -> str:
    text = text.strip()
    leading = _LEADING_LETTER.match(text)
    return (text[leading.end() :] if leading else text).strip().lower()


def _number(answer: str, folded: str) -> str | None:
    """The number that the whole answer is, in digits or in words."""
    bare = answer.strip(_AROUND)
    if _NUMBER.fullmatch(bare):
        return extract(bare, "number")
    words = folded.split()
    found = numbers(folded) if len(words) in (1, 2) and all(map(numbers, words)) else []
    return found[0][1] if len(found) == 1 else None


def _wrong(record: Record, what: str) -> RecordError:
    return RecordError(
        f"expected an answer {what}, got {record.answer[:60]!r}, at record {record.id!r}; "
        "fix: correct the answer, or choose another rule"
    )
