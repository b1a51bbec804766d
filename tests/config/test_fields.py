"""The schema's tree, also of configs that a plug-in brings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

import pytest

from latentvr.config.fields import Leaf, find, texts, tree
from latentvr.config.schema import ReasonerConfig
from latentvr.errors import RecipeError


@dataclass
class Inner:
    """Options in a group."""

    width: Optional[int] = None  # noqa: UP045
    """Width."""


@dataclass
class PlugIn(ReasonerConfig):
    """Options of a plug-in."""

    inner: Inner = field(default_factory=Inner)
    """Group."""
    flags: list[bool] = field(default_factory=list)


@dataclass
class Bad(ReasonerConfig):
    """Has a field that no recipe can hold."""

    table: dict[str, int] = field(default_factory=dict)


def test_groups_lists_and_missing_texts() -> None:
    schema = tree(PlugIn)
    width = find(schema, "reasoner.inner.width")
    flags = find(schema, "reasoner.flags")
    assert isinstance(width, Leaf)
    assert (width.kind, width.optional, width.doc) == (int, True, "Width.")
    assert isinstance(flags, Leaf)
    assert (flags.kind, flags.is_list, flags.doc) == (bool, True, "")
    assert find(schema, "reasoner.inner.width.more") is None
    assert find(schema, "reasoner.none") is None


def test_texts_of_a_base_class_are_inherited() -> None:
    assert texts(PlugIn)["name"] == texts(ReasonerConfig)["name"] != ""


def test_a_type_that_recipes_cannot_hold() -> None:
    with pytest.raises(
        RecipeError, match=r"got dict\[str, int\] at reasoner\.table; fix: change the config class"
    ):
        tree(Bad)
