"""Text from data made safe for a terminal."""

from __future__ import annotations

import re

# CSI and OSC sequences whole, then any other control character, C1 included.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-9;:<=>?]*[ -/]*[@-~]?|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, lines: bool = False) -> str:
    """Take out ANSI escapes, control characters and marks that reverse the writing direction.

    Args:
        text: any text.
        lines: keep line ends and tabs; else they become spaces, so that text cannot forge a line.

    Returns:
        The rest of the text.
    """
    clean = _CONTROL.sub("", _ESCAPES.sub("", text))
    return clean if lines else clean.replace("\n", " ").replace("\t", " ")
