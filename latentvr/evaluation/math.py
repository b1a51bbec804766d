r"""Mathematical answers, compared by value with the package math-verify.

A text is read as TRL 1.16's `accuracy_reward` reads it: `\boxed{...}`, several of them as the set of their
values, else LaTeX between `$`, `\(` or `\[` after "answer is" and the like. Models that were taught to write
the bare answer have no such marks; a text in which nothing is found is then read as a whole, as if it stood
in `\boxed`, unless it holds words: "12 dollars" is 12, any other text with words is no answer. What a model
wrote is read as LaTeX alone, and never run as code.

math-verify's own time limits are off: they share the process's one alarm with everybody else's. Ours holds.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar

from latentvr.errors import UserError
from latentvr.evaluation.time_limit import TimeLimitError, limited

SECONDS = 3.0
"""Longest time for reading one text, and for comparing two answers; beyond it there is no answer, or a wrong
one."""
LONGEST = 2000
"""Characters at the end of a text that are looked at: some of math-verify's patterns take quadratic time."""
LONGEST_BARE = 500
"""Characters of an expression without marks, at most; a longer text is none."""

Made = TypeVar("Made")
_MARKED = re.compile(r"\$[^$]+\$|\\boxed|\\\(|\\\[")
_WHOLLY_MARKED = re.compile(r"\$+([^$]+)\$+|\\\((.+)\\\)|\\\[(.+)\\\]", re.DOTALL)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3}|[A-Za-z]{2}\s+[A-Za-z]{2}")
_NUMBER_AND_WORDS = re.compile(r"(-?[\d.,]*\d)\s+[A-Za-z][A-Za-z ]*")


def written(text: str, bare: str) -> str | None:
    r"""Take a mathematical answer out of a text.

    Args:
        text: what the model wrote.
        bare: the part of it that is read as a whole where nothing is marked as LaTeX.

    Returns:
        The answer as it was written, or None.

    Raises:
        UserError: math-verify is not installed, or this is not the main thread.
    """
    return _shown(_read(text[-LONGEST:], bare[-LONGEST:]))


def expected(answer: str) -> str | None:
    """Take the answer out of what a record says.

    Args:
        answer: LaTeX with or without marks, or a number with words after it.

    Returns:
        The answer as it is written, or None where it cannot be read.

    Raises:
        UserError: math-verify is not installed, or this is not the main thread.
    """
    return _shown(_read_record(answer))


def agrees(text: str, bare: str, answer: str) -> bool:
    """Compare a model's answer with the record's, by value.

    Args:
        text: as for `written`.
        bare: as for `written`.
        answer: as for `expected`.

    Returns:
        Whether they are equal; False too where that cannot be found out in time.

    Raises:
        UserError: math-verify is not installed, or this is not the main thread.
    """
    mine, right = _read(text[-LONGEST:], bare[-LONGEST:]), _read_record(answer)
    verify = _package().verify
    equal: bool | None = _in_time(lambda: verify(list(right), list(mine), timeout_seconds=None))
    return bool(equal)


def boxed(answer: str) -> str | None:
    r"""Give an answer as math-verify finds it for certain.

    Args:
        answer: LaTeX with or without marks, or a number with words after it.

    Returns:
        The text as it is where it marks its LaTeX, else in `\boxed`; None where that is no expression.
    """
    return answer if _MARKED.search(answer) else _box(answer)


def _box(bare: str) -> str | None:
    """An expression in a box; None for other texts."""
    bare = bare.strip().removesuffix(".").strip()
    whole = _WHOLLY_MARKED.fullmatch(bare)
    if whole:
        bare = next(part for part in whole.groups() if part)
    number = _NUMBER_AND_WORDS.fullmatch(bare)
    bare = number[1] if number else bare.replace("\N{DEGREE SIGN}", r"^\circ")
    if not 0 < len(bare) <= LONGEST_BARE or _MARKED.search(bare) or _WORD.search(_COMMAND.sub(" ", bare)):
        return None
    return rf"\boxed{{{bare}}}"


@functools.lru_cache(maxsize=256)
def _read(text: str, bare: str) -> tuple[Any, ...]:
    """What math-verify makes of a model's text: value and writing, or nothing."""
    package = _package()
    from latex2sympy2_extended import NormalizationConfig

    target = package.LatexExtractionConfig(
        normalization_config=NormalizationConfig(units=True),
        boxed_match_priority=0,
        try_extract_without_anchor=False,
    )
    parse = functools.partial(
        package.parse, extraction_config=[target], extraction_mode="first_match", parsing_timeout=None
    )
    found = _in_time(lambda: parse(text)) if _MARKED.search(text) else []
    # None: the time is up, and it would be again.
    box = _box(bare) if found == [] else None
    return tuple((found if box is None else _in_time(lambda: parse(box))) or ())


@functools.lru_cache(maxsize=1024)
def _read_record(answer: str) -> tuple[Any, ...]:
    """What math-verify makes of a record's answer, which is not as strict as with a model's."""
    marked = boxed(answer)
    package = _package()
    if marked is None:
        return ()
    return tuple(_in_time(lambda: package.parse(marked, parsing_timeout=None)) or ())


def _shown(read: tuple[Any, ...]) -> str | None:
    """The writing: the value itself may take for ever to print."""
    return next((part.strip() for part in reversed(read) if isinstance(part, str)), None)


def _in_time(call: Callable[[], Made]) -> Made | None:
    try:
        return limited(call, SECONDS)
    except TimeLimitError:
        return None


@functools.cache
def _package() -> Any:
    try:
        import math_verify
    except ImportError as error:
        raise UserError(
            'expected the package math-verify for answers of type "math", got none, at the environment; '
            "fix: pip install 'latentvr[rl]'"
        ) from error
    for name in ("parser", "grader"):  # they warn that their own time limits are off
        logging.getLogger(f"math_verify.{name}").setLevel(logging.ERROR)
    return math_verify
