"""How a prompt is built from a question and its choices."""

from __future__ import annotations

import string
from collections.abc import Sequence


def letters(n: int) -> tuple[str, ...]:
    """Give the letters of n options: A, B, C and so on.

    Args:
        n: number of options.

    Returns:
        One capital letter for each.

    Raises:
        ValueError: there are more than 26 options.
    """
    if n > len(string.ascii_uppercase):
        raise ValueError(f"at most 26 options have letters, got {n}")
    return tuple(string.ascii_uppercase[:n])


def build_prompt(question: str, choices: Sequence[str]) -> str:
    """Write the question and one line "(A) text" for each choice."""
    lines = [f"({letter}) {choice}" for letter, choice in zip(letters(len(choices)), choices, strict=True)]
    return "\n".join([question, *lines])
