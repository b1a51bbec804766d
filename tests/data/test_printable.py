"""Control characters of data never reach the terminal."""

from __future__ import annotations

import pytest

from latentvr.data.printable import printable


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain \u00e9 \u732b", "plain \u00e9 \u732b"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;unfinished", "]0;unfinished"),
        ("a\x00b\x08c\x7fd\re", "abcde"),
        ("one\ntwo\tthree", "one two three"),
        ("abc\u202edcba", "abcdcba"),
    ],
)
def test_escapes_and_control_characters_go(text: str, clean: str) -> None:
    assert printable(text) == clean


def test_lines_are_kept_when_asked_for() -> None:
    assert printable("one\n\x1b[1mtwo\x1b[0m", lines=True) == "one\ntwo"
