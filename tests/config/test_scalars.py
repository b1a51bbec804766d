"""Spelling to value, under the type that a key asks for."""

from __future__ import annotations

import pytest

from latentvr.config.fields import Leaf
from latentvr.config.scalars import ScalarError, scalar


def _key(kind: type, *, optional: bool = False, choices: tuple[str, ...] = ()) -> Leaf:
    return Leaf("k", kind, choices, optional, False, None, "")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("-3", int, -3),
        ("0", int, 0),
        ("1e-4", float, 1e-4),
        ("3", float, 3.0),
        (".5", float, 0.5),
        ("2.", float, 2.0),
        ("On", bool, True),
        ("NO", bool, False),
        ("007", str, "007"),
        ("${train.seed}", int, "${train.seed}"),
    ],
)
def test_values(text: str, kind: type, value: object) -> None:
    got = scalar(text, False, _key(kind))
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0x1F", int),
        ("1e3", int),
        ("٣", int),
        ("", int),
        ("inf", float),
        ("1_e", float),
        ("1:30", float),
        ("y", bool),
    ],
)
def test_refusals(text: str, kind: type) -> None:
    with pytest.raises(ScalarError, match=r"^expected .*, got .*; fix: "):
        scalar(text, False, _key(kind))


@pytest.mark.parametrize("text", ["", "~", "null", "NULL", "None"])
def test_null_needs_a_key_that_allows_it_and_no_quotes(text: str) -> None:
    assert scalar(text, False, _key(str, optional=True)) is None
    if text:
        assert scalar(text, True, _key(str, optional=True)) == text
    with pytest.raises(ScalarError, match="got null"):
        scalar(text, False, _key(str))


def test_a_choice_that_yaml_takes_for_false() -> None:
    assert scalar("off", False, _key(str, choices=("off", "memory"))) == "off"
    with pytest.raises(ScalarError, match="expected one of off, memory, got 'on'"):
        scalar("on", False, _key(str, choices=("off", "memory")))
