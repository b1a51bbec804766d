"""Options written inside a text: "… (A) red (B) blue"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_MARK = re.compile(r"(?<!\S)\(([A-Za-z])\)[ \t]*")


@dataclass(frozen=True)
class Parted:
    """A text taken apart.

    Attributes:
        before: what stands before the first option, without white space around it.
        options: texts of the options, from A on.
        after: what follows the line of the last option, without white space around it.
    """

    before: str
    options: tuple[str, ...]
    after: str


def parted(text: str) -> Parted:
    """Take the options out of a text.

    Marks count in the order of the alphabet from "(A)" or "(a)" on, at the beginning of a word; the last
    option ends with its line.

    Args:
        text: with any number of options.

    Returns:
        The parts; all of the text is `before` where it has no options.
    """
    marks: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        if ord(mark[1].upper()) == ord("A") + len(marks):
            marks.append(mark)
    if not marks:
        return Parted(text.strip(), (), "")
    last, _, after = text[marks[-1].end() :].partition("\n")
    between = [text[one.end() : two.start()] for one, two in pairwise(marks)]
    options = tuple(option.strip() for option in (*between, last))
    return Parted(text[: marks[0].start()].strip(), options, after.strip())
