"""Texts with half a character cannot be written, and are found before they are."""

import pytest

from latentvr.data.sets.writable import is_writable


@pytest.mark.parametrize("value", ["\ud800", ["a", "x\udfff"], {"\ud83d": 1}, {"a": [("\ud83d",)]}])
def test_half_characters_are_found_wherever_they_are(value: object) -> None:
    assert not is_writable("plain", value)


def test_whole_characters_are_fine() -> None:
    assert is_writable("\U0001f600", None, 1.5, ["é", {"a": "\0"}])
