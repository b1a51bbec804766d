"""One YAML scalar to a value of the type that its key asks for.

YAML 1.1 guesses a type from a scalar's spelling: `off` is false, `017` is fifteen and `12:30` is 750.
Here the schema says the type and the spelling is read under it, so a text `off` stays a text.
"""

from __future__ import annotations

import re

from latentvr.config.fields import Leaf

NULLS = {"", "~", "null", "Null", "NULL", "None"}
"""Plain spellings of null; the last one is what people type on a command line."""

_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9_]*)")
_NUMBER = re.compile(r"[+-]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

Value = int | float | bool | str | None


class ScalarError(ValueError):
    """A scalar does not fit its key; the text says what was expected and how to mend it."""


def is_null(text: str, quoted: bool) -> bool:
    """Tell whether a scalar means null; a quoted one never does."""
    return not quoted and text in NULLS


def scalar(text: str, quoted: bool, leaf: Leaf) -> Value:
    """Read `text` as an element of `leaf`; an interpolation `${…}` is returned as it stands.

    Args:
        text: the scalar without quotes.
        quoted: whether it stood in quotes, which makes `null` a text.
        leaf: the key it is for.

    Returns:
        The value; None for null.

    Raises:
        ScalarError: the text does not fit.
    """
    if is_null(text, quoted):
        if leaf.optional and not leaf.is_list:
            return None
        raise ScalarError(f"expected {_expected(leaf)}, got null; fix: give a value or leave the key out")
    if "${" in text:
        return text
    if text == "???":
        raise ScalarError(f"expected {_expected(leaf)}, got '???'; fix: give a value or leave the key out")
    if leaf.choices:
        return _choice(text, leaf)
    if leaf.kind is bool:
        return _boolean(text, leaf)
    if leaf.kind is int:
        return _whole(text, leaf)
    if leaf.kind is float:
        return _number(text, leaf)
    if not text.strip():
        raise ScalarError("expected text, got an empty text; fix: give a value or leave the key out")
    return text


def _expected(leaf: Leaf) -> str:
    if leaf.choices:
        return f"one of {', '.join(leaf.choices)}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[leaf.kind]


def _choice(text: str, leaf: Leaf) -> str:
    if text not in leaf.choices:
        raise ScalarError(f"expected {_expected(leaf)}, got {text!r}; fix: use one of these")
    return text


def _boolean(text: str, leaf: Leaf) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ScalarError(f"expected {_expected(leaf)}, got {text!r}; fix: write true or false")
    return text.lower() in _TRUE


def _whole(text: str, leaf: Leaf) -> int:
    if _WHOLE.fullmatch(text) is None:
        fix = text.lstrip("0") if text.isdigit() and text.strip("0") else "digits alone, such as 8"
        raise ScalarError(f"expected {_expected(leaf)}, got {text!r}; fix: write {fix}")
    return int(text)


def _number(text: str, leaf: Leaf) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else float("inf")
    if value in (float("inf"), float("-inf")):
        raise ScalarError(f"expected {_expected(leaf)}, got {text!r}; fix: write digits, such as 0.1 or 1e-4")
    return value
