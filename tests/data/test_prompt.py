"""Prompts from questions and choices."""

from __future__ import annotations

import pytest

from latentvr.data.prompt import build_prompt, letters


def test_choices_follow_the_question_line_by_line() -> None:
    assert build_prompt("which ?", ["red", "blue"]) == "which ?\n(A) red\n(B) blue"
    assert build_prompt("which ?", []) == "which ?"


def test_there_are_26_letters() -> None:
    assert letters(26)[-1] == "Z"
    with pytest.raises(ValueError, match="at most 26"):
        letters(27)
