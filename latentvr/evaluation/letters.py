"""Letters of options as published harnesses take them out of a text, right or wrong.

Each function gives an upper-case letter unless it says otherwise, or None where its rule finds none. Rules
are kept as they are, with what they get wrong: figures compare only with figures of the same rule.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from latentvr.data.record import Record
from latentvr.errors import RecordError
from latentvr.evaluation.extract import extract

_FIRST = re.compile(r"[(\s]*([A-Z])", re.IGNORECASE)
_PUNCTUATION = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
#: A lone letter further from the end than this many words is not the answer (VLMEvalKit).
_LAST_WORDS = 4
#: The word that stands for "no option" (VLMEvalKit).
_NO_OPTION = "Z"

_TWO_OPTIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\A\(?([AB])\)?\.?\Z",
        r"\A\(?([AB])\)?[.\s]",
        r"answer\s+is\s+\(?([AB])",
        r"option\s+\(?([AB])",
        r"([AB])\)?(?:\s|\Z)",
        r"\A([AB])",
    )
)
_FOUR_OPTIONS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\A([A-D])",
        r"(?:ANSWER|CHOICE|OPTION)(?:\s+IS)?[\s:]+([A-D])",
        r"\(([A-D])\)",
        r"([A-D])\s*[.)\]]",
        r"(?:\A|\s)([A-D])(?:\s|\Z)",
        r"\A[^A-D]*([A-D])[^A-D]*\Z",
    )
)


def gold_letter(record: Record) -> str:
    """Give the letter of the right option.

    Args:
        record: its answer is a letter in any form ("B", "(B)"), or an option's text.

    Returns:
        An upper-case letter.

    Raises:
        RecordError: the answer names no option.
    """
    letter = extract(record.answer, "mcq", record.choices)
    if letter is None:
        raise RecordError(
            f"expected an answer that is the letter of an option, got {record.answer[:60]!r}, "
            f"at record {record.id!r}; fix: correct the answer, or choose another rule"
        )
    return letter


def first_letter(text: str) -> str | None:
    """Take the first letter of a text, past blanks and opening brackets (lmms-eval, BLINK).

    "(b) red" gives B, but "The answer is B" gives T. Any other sign before the letter leaves nothing.
    """
    found = _FIRST.match(text)
    return found[1].upper() if found else None


def answer_tag_first_character(text: str) -> str | None:
    """Take the first character of what stands in the last answer tag (the authors of visual-token reasoning).

    Tags are `<answer>` and `</answer`, in small letters alone; without them the whole text counts. The letter
    keeps its case, and a small one is wrong; "(A)" holds no letter at its start.
    """
    inside = text.rpartition("<answer>")[2].partition("</answer")[0].strip()
    return inside[0] if inside and inside[0] in string.ascii_letters else None


def single_letter_or_option(text: str, choices: Sequence[str]) -> str | None:
    """Take the only letter of an option near the end, else the only option's text inside (VLMEvalKit).

    Letters are capital words of their own once brackets and punctuation are blanks. Only one of the options'
    letters may occur, and its first place must be among the last four words. Otherwise one option's text
    alone must stand somewhere in the text, whatever the case, and the text must not be longer than twice all
    options together. The word Z without a letter of an option means that there is no answer.
    """
    letters = string.ascii_uppercase[: len(choices) or 25]
    words = text.translate(_PUNCTUATION).split()
    found = sorted(set(words) & set(letters))
    if len(found) == 1 and words.index(found[0]) >= len(words) - _LAST_WORDS:
        return found[0]
    if not found and _NO_OPTION in words:
        return None
    lowered = text.lower()
    if len(lowered) > 2 * sum(len(choice) for choice in choices):
        return None
    inside = [letter for letter, choice in zip(letters, choices, strict=False) if choice.lower() in lowered]
    return inside[0] if len(inside) == 1 else None


def letter_search_two(text: str) -> str | None:
    """Take A or B by the first pattern that occurs (lmms-eval, MMVP); a small letter is as good.

    In order: nothing but the letter; the text starts with it as a word; it follows "answer is", or "option",
    even as the start of a word ("the answer is blue" gives B); it ends any word ("I see a cab" gives A);
    it is the first character.
    """
    text = text.strip()
    return _by_pattern(_TWO_OPTIONS, text)


def letter_search_four(text: str) -> str | None:
    """Take A to D by the first pattern that occurs (lmms-eval, V*); a small letter is as good.

    In order: the first character, even of a word ("Answer: B" gives A); what follows "answer", "choice" or
    "option"; a letter in brackets; one before a full stop or a closing bracket; a word of its own; the only
    A to D in the text.
    """
    return _by_pattern(_FOUR_OPTIONS, text.strip().upper())


def _by_pattern(patterns: Sequence[re.Pattern[str]], text: str) -> str | None:
    found = next((match for pattern in patterns if (match := pattern.search(text))), None)
    return found[1].upper() if found else None
