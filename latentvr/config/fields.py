"""The schema as a tree of sections and leaves, with the text that stands under each field."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from latentvr.config.schema import ReasonerConfig, Recipe
from latentvr.errors import RecipeError

ROW = "<name>"
"""Stands for a name that the user chooses, as in `stages.<name>.epochs`."""

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Leaf:
    """A key with a value.

    Attributes:
        key: full key.
        kind: type of the value, or of each element where `is_list`.
        choices: allowed texts, empty where any will do.
        optional: whether null is allowed.
        is_list: whether the value is a list.
        default: value where nothing is given.
        doc: the text under the field.
    """

    key: str
    kind: type[int] | type[float] | type[bool] | type[str]
    choices: tuple[str, ...]
    optional: bool
    is_list: bool
    default: Any
    doc: str

    @property
    def type_text(self) -> str:
        """The type in words, such as `list of text` or `whole number or null`."""
        words = " | ".join(self.choices) if self.choices else _WORDS[self.kind]
        words = f"list of {words}" if self.is_list else words
        return f"{words} or null" if self.optional else words


@dataclass(frozen=True)
class Section:
    """A group of keys; `key` is empty for the whole recipe."""

    key: str
    doc: str
    children: dict[str, Part]


@dataclass(frozen=True)
class Table:
    """Groups of equal form under names that the user chooses."""

    key: str
    doc: str
    row_type: type[Any]

    def row(self, name: str) -> Section:
        """Return the group called `name`."""
        return _section(self.row_type, f"{self.key}.{name}", {})


Part = Leaf | Section | Table


def tree(reasoner: type[ReasonerConfig]) -> Section:
    """Return the schema of a recipe for the method with the given options.

    Args:
        reasoner: dataclass of the method's options.

    Returns:
        The section of the whole recipe; its key is empty.

    Raises:
        RecipeError: a method's config has a field of a type that recipes cannot hold.
    """
    return _section(Recipe, "", {"reasoner": reasoner})


def leaves(part: Part) -> Iterator[Leaf]:
    """Yield all leaves of `part` in order, those of a table under the name `<name>`."""
    if isinstance(part, Leaf):
        yield part
        return
    section = part.row(ROW) if isinstance(part, Table) else part
    for child in section.children.values():
        yield from leaves(child)


def find(section: Section, key: str) -> Part | None:
    """Return the part at the full `key`, None where there is none; any row name fits a table."""
    part: Part = section
    for name in key.split("."):
        if isinstance(part, Table):
            part = part.row(name)
        elif isinstance(part, Section) and name in part.children:
            part = part.children[name]
        else:
            return None
    return part


def texts(cls: type[Any]) -> dict[str, str]:
    """Return the text under each field of a dataclass and of its bases, on one line each."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        statements = _bodies(base.__module__).get(base.__name__, []) if dataclasses.is_dataclass(base) else []
        for statement, following in pairwise(statements):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                found[statement.target.id] = _string(following) or found.get(statement.target.id, "")
    return found


@cache
def _bodies(module: str) -> dict[str, list[ast.stmt]]:
    """Return the statements of every class of a module by the class's name."""
    source = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in ast.walk(source) if isinstance(node, ast.ClassDef)}


def _string(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        value = statement.value.value
        return " ".join(value.split()) if isinstance(value, str) else None
    return None


def _section(cls: type[Any], key: str, replaced: dict[str, type[Any]]) -> Section:
    hints = get_type_hints(cls)
    docs = texts(cls)
    children: dict[str, Part] = {}
    for item in dataclasses.fields(cls):
        child = f"{key}.{item.name}" if key else item.name
        hint = replaced.get(item.name, hints[item.name])
        children[item.name] = _part(child, hint, item, docs.get(item.name, ""))
    doc = " ".join((cls.__doc__ or "").split())
    return Section(key, doc, children)


def _part(key: str, hint: Any, item: dataclasses.Field[Any], doc: str) -> Part:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _section(hint, key, {})
    if get_origin(hint) is dict and dataclasses.is_dataclass(get_args(hint)[1]):
        return Table(key, doc, get_args(hint)[1])
    default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
    return _leaf(key, hint, default, doc)


def _leaf(key: str, hint: Any, default: Any, doc: str) -> Leaf:
    inner, optional = _without_none(hint)
    is_list = get_origin(inner) is list
    element = get_args(inner)[0] if is_list else inner
    choices: tuple[Any, ...] = get_args(element) if get_origin(element) is Literal else ()
    kind = str if choices and all(isinstance(choice, str) for choice in choices) else element
    if kind not in _WORDS:
        raise RecipeError(
            f"expected a field of type int, float, bool, str, a Literal of texts, a list of one of these or "
            f"a dataclass, got {hint!r} at {key}; fix: change the config class of the method"
        )
    return Leaf(key, kind, choices, optional, is_list, default, doc)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        rest = [arg for arg in get_args(hint) if arg is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False
