r"""From what a model wrote to the answer that it gave, or to nothing; an answer is never guessed.

What stands in the last `<answer>...</answer>` counts alone, where there is one. Then, by type of answer,
the first rule that finds something:

- mcq: the whole text is a letter; it starts with a letter as in "B." or "(B)"; it is an option's text;
  what follows the last "answer" is an option's text or a letter; all letters in brackets and all capital
  letters that stand alone are one letter. Letters without an option do not count, nor do words ("A dog").
- number: digits, or number words where there are no digits. The sole number; the first one after the last
  "answer"; the first one.
- yesno: the word that the text starts with; the word after the last "answer"; the only one of the two.
- text: the text without "the answer is", folded by `normal_text`.
- math: LaTeX as `latentvr.evaluation.math` reads it; without marks of LaTeX, what follows the last "answer",
  or the whole text, has to be an expression.
- path: the moves L, R, U and D in the last `\boxed{...}`, else a text that holds nothing but moves.

All regular expressions of this package take time linear in the text, whoever wrote it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence

from latentvr.data.record import AnswerType, Record
from latentvr.errors import RecordError
from latentvr.evaluation import math
from latentvr.evaluation.normal_text import normal_text
from latentvr.evaluation.numbers import first_after, numbers
from latentvr.evaluation.path import moves, reaches_goal

_OPEN, _CLOSE = re.compile("<answer>", re.IGNORECASE), re.compile("</answer", re.IGNORECASE)
_CUE = re.compile(r"\banswer\b(?:\s*(?:is|would be|should be)\b)?[\s:=*]*", re.IGNORECASE)
_LEADING_CUE = re.compile(r"\s*(?:the\s+)?(?:final\s+|correct\s+)?answer(?:\s+is\b|\s*:)", re.IGNORECASE)
_WHOLE_LETTER = re.compile(r"""[\s(\["'*]*([A-Za-z])[\s)\].:,"'*]*""")
# Two letters with "or" between them are no answer.
_NOT_OR = r"(?!\s+or\b)"
# "A dog" and "I think" hold words, "A is right" a letter.
_CAPITAL = r"([AI](?!\s+(?!(?:is|and|or|because|since|as)\b)[a-z])|[B-HJ-Z])(?![\w'])"
_LEADING_LETTER = re.compile(r"[\s*]*(?:[(\[]([A-Za-z])[)\]]|([A-Z])[).:])(?!\w)" + _NOT_OR)
_LETTER_NEXT = re.compile(
    rf"""(?:the\s+)?(?:option\s+|choice\s+)?["'*]*(?:[(\[]([A-Za-z])[)\]]|{_CAPITAL}){_NOT_OR}"""
)
_ANY_LETTER = re.compile(rf"[(\[]([A-Za-z])[)\]]|(?<![\w']){_CAPITAL}")
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_FIRST_YES_NO = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


def unwrapped(text: str) -> str:
    """Give what stands in the last `<answer>...</answer>`, or all of a text without it."""
    opening = _last(_OPEN.finditer(text))
    if opening is None:
        return text
    closing = _CLOSE.search(text, opening.end())
    return text[opening.end() : closing.start() if closing else len(text)]


def extract(text: str, answer_type: AnswerType, choices: Sequence[str] = ()) -> str | None:
    """Take the answer out of a text.

    Args:
        text: what the model wrote.
        answer_type: how the answer is compared; the module says which rules that means.
        choices: texts of the options of a multiple-choice question; without them any letter counts.

    Returns:
        The answer in one canonical form (an upper-case letter; digits; "yes" or "no"; folded text;
        moves such as "LLUR"; LaTeX as it was written), or None: no answer was found, which is a failure
        and is counted as one.
    """
    text = unwrapped(text)
    if answer_type == "mcq":
        return _letter(text, choices)
    if answer_type == "number":
        return _number(text)
    if answer_type == "yesno":
        return _yes_or_no(text)
    if answer_type == "path":
        return moves(text)
    if answer_type == "math":
        return math.written(text, _after_cue(text))
    leading = _LEADING_CUE.match(text)
    return normal_text(text[leading.end() :] if leading else text) or None


def expected_answer(record: Record) -> str:
    """Give the record's own answer in canonical form.

    Args:
        record: its answer may be in any form that a model may use.

    Returns:
        The answer in the form of `extract`.

    Raises:
        RecordError: the record's answer is none of its type.
    """
    if record.answer_type == "math":
        answer = math.expected(unwrapped(record.answer))
    else:
        answer = extract(record.answer, record.answer_type, record.choices)
    if answer is None:
        raise RecordError(
            f"expected an answer of type {record.answer_type}, got {record.answer!r}, "
            f"at record {record.id!r}; fix: correct the answer or answer_type"
        )
    return answer


def is_correct(prediction_text: str, record: Record) -> bool | None:
    """Compare what a model wrote with the record's answer.

    A plan (answer_type "path") of a record with `meta["map_desc"]` is carried out on that map; without
    a map it has to be the record's own plan.

    Args:
        prediction_text: what the model wrote.
        record: what was asked.

    Returns:
        Whether the answer is right; None where no answer can be taken out of the text.

    Raises:
        RecordError: the record's answer is none of its type, or its map is wrong.
    """
    expected = expected_answer(record)
    answer = extract(prediction_text, record.answer_type, record.choices)
    if answer is None:
        return None
    if record.answer_type == "path" and "map_desc" in record.meta:
        return reaches_goal(answer, record.meta["map_desc"], f"record {record.id!r}")
    if record.answer_type == "math":
        text = unwrapped(prediction_text)
        return math.agrees(text, _after_cue(text), unwrapped(record.answer))
    return answer == expected


def _letter(text: str, choices: Sequence[str]) -> str | None:
    allowed = string.ascii_uppercase[: len(choices) or None]
    found = _allowed([_WHOLE_LETTER.fullmatch(text), _LEADING_LETTER.match(text)], allowed)
    letter = found[0] if found else _option(text, choices)
    cue = _last(_CUE.finditer(text))
    if cue and not letter:
        rest = text[cue.end() :]
        found = _allowed([_LETTER_NEXT.match(rest)], allowed)
        letter = _option(rest, choices) or (found[0] if found else None)
    if letter:
        return letter
    found = _allowed(_ANY_LETTER.finditer(text), allowed)
    return found[0] if len(set(found)) == 1 else None


def _allowed(matches: Iterable[re.Match[str] | None], allowed: str) -> list[str]:
    letters = [next(group for group in m.groups() if group).upper() for m in matches if m]
    return [letter for letter in letters if letter in allowed]


def _option(text: str, choices: Sequence[str]) -> str | None:
    """Give the letter of the one option whose text this is."""
    wanted = normal_text(text)
    hits = [i for i, choice in enumerate(choices) if wanted and normal_text(choice) == wanted]
    return string.ascii_uppercase[hits[0]] if len(hits) == 1 else None


def _number(text: str) -> str | None:
    found = numbers(text)
    if not found:
        return None
    if len({value for _, value in found}) == 1:
        return found[0][1]
    cue = _last(_CUE.finditer(text))
    return first_after(found, cue.end() if cue else 0) or found[0][1]


def _yes_or_no(text: str) -> str | None:
    found = _FIRST_YES_NO.match(text)
    if found:
        return found[1].lower()
    cue = _last(_CUE.finditer(text))
    after = _FIRST_YES_NO.match(text, cue.end()) if cue else None
    if after:
        return after[1].lower()
    words = {word.lower() for word in _YES_NO.findall(text)}
    return words.pop() if len(words) == 1 else None


def _after_cue(text: str) -> str:
    """What follows the last "answer"; all of a text without it."""
    cue = _last(_CUE.finditer(text))
    return text[cue.end() :] if cue else text


def _last(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    last = None
    for match in matches:
        last = match
    return last
