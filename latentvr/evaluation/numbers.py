"""Numbers in running text: digits, or English words up to ninety-nine."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_SMALL = ("zero", *_UNITS, "ten", "eleven", "twelve", *_TEENS)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: i for i, word in enumerate(_SMALL)} | {word: 10 * i for i, word in enumerate(_TENS, 2)}

# Not inside a word, and not the second half of "3.14" or ".5" ("...5" is an ellipsis and a number).
_DIGITS = re.compile(
    r"(?<!\w)(?<!\d\.)(?<!(?<!\.)\.)(-?)(\d{1,3}(?:,\d{3})+(?!\d)|\d+)(\.\d+)?(?!\w)", re.ASCII
)
_WORDS = re.compile(
    rf"(?<![\w-])(?:({'|'.join(_TENS)})(?:[-\s]({'|'.join(_UNITS)}))?|({'|'.join(_SMALL)}))(?![\w-])",
    re.IGNORECASE,
)
_LARGER = re.compile(r"\b(?:dozen|hundred|thousand|million|billion)s?\b", re.IGNORECASE)


def numbers(text: str) -> list[tuple[int, str]]:
    """Find the numbers of a text with their places.

    Words count only where the text has no digits ("this one shows 3" holds one number), and not at all
    beside "hundred" and larger words, which are not read. "3rd" and "image2" hold no number.

    Args:
        text: any text.

    Returns:
        (place in the text, digits without leading zeros, separators or an empty fraction), in order.
    """
    found = [(m.start(), _canonical(m[1], m[2], m[3] or "")) for m in _DIGITS.finditer(text)]
    if found or _LARGER.search(text):
        return found
    return [(m.start(), str(_value(m))) for m in _WORDS.finditer(text)]


def first_after(found: Sequence[tuple[int, str]], place: int) -> str | None:
    """Give the first of `numbers(text)` at or after a place."""
    return next((value for start, value in found if start >= place), None)


def _canonical(sign: str, whole: str, fraction: str) -> str:
    """Write a number in one way, as text: a hostile number may have thousands of digits."""
    whole = whole.replace(",", "").lstrip("0") or "0"
    fraction = fraction.rstrip("0").rstrip(".")
    value = whole + fraction
    return value if value == "0" else sign + value


def _value(match: re.Match[str]) -> int:
    tens, unit, small = (word and word.lower() for word in match.groups())
    return _VALUES[small] if small else _VALUES[tens] + (_VALUES[unit] if unit else 0)
