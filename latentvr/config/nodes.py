"""YAML nodes to typed settings under the schema; every problem is collected, none stops the reading."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from latentvr.config.document import line
from latentvr.config.fields import ROW, Leaf, Part, Section, Table, leaves
from latentvr.config.provenance import DEFAULT, Origin, Problem, Setting
from latentvr.config.scalars import ScalarError, Value, is_null, scalar
from latentvr.config.suggest import sentence, suggest

_ROW_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
Place = Callable[[Any], Origin]


@dataclass
class Reading:
    """Settings and problems found so far.

    Attributes:
        schema: the whole recipe's schema.
        settings: full key to value and origin; later readings overwrite.
        problems: what was wrong, in order of reading.
    """

    schema: Section
    settings: dict[str, Setting] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def complain(self, key: str, message: str, origin: Origin) -> None:
        """Note a problem."""
        self.problems.append(Problem(key, message, origin))

    def unknown(self, key: str, origin: Origin) -> None:
        """Note an unknown key, with what it may have meant."""
        known = [leaf.key for leaf in leaves(self.schema)]
        candidates = [_same_row(key, candidate) for candidate in suggest(_generic(key), known)]
        self.complain(key, f"unknown key{sentence(candidates)}", origin)

    def read(self, part: Part, node: Any, place: Place, origin: Origin) -> None:
        """Read `node` as `part`.

        Args:
            part: what the schema has there.
            node: YAML node of the value.
            place: gives the origin of a key's node.
            origin: origin of this node.
        """
        if isinstance(part, Leaf):
            self._leaf(part, node, origin)
        elif not isinstance(node, yaml.MappingNode):
            shown = "a list" if isinstance(node, yaml.SequenceNode) else _shown(node)
            self.complain(
                part.key,
                f"expected a mapping of keys, got {shown}; fix: indent keys under it or leave it out",
                origin,
            )
        elif isinstance(part, Table):
            self._table(part, node, place)
        else:
            self._section(part, node, place)

    def defaults(self, section: Section, origin: Origin = DEFAULT) -> None:
        """Set every leaf of `section` to its default; tables stay empty."""
        for child in section.children.values():
            if isinstance(child, Leaf):
                self.settings[child.key] = Setting(child.default, origin)
            elif isinstance(child, Section):
                self.defaults(child, origin)

    def _section(self, section: Section, node: Any, place: Place) -> None:
        for key_node, value_node in node.value:
            child = section.children.get(key_node.value)
            key = f"{section.key}.{key_node.value}" if section.key else key_node.value
            if child is None:
                self.unknown(key, place(key_node))
            else:
                self.read(child, value_node, place, place(key_node))

    def _table(self, table: Table, node: Any, place: Place) -> None:
        for key_node, value_node in node.value:
            name, origin = key_node.value, place(key_node)
            if not _ROW_NAME.fullmatch(name):
                fix = "a letter, then letters, digits, '_' or '-'"
                message = f"expected a name, got {name!r}; fix: start with {fix}"
                self.complain(f"{table.key}.{name}", message, origin)
                continue
            row = table.row(name)
            self.defaults(row)
            self.read(row, value_node, place, origin)

    def _leaf(self, leaf: Leaf, node: Any, origin: Origin) -> None:
        try:
            value = _list(leaf, node) if leaf.is_list else _single(leaf, node)
        except ScalarError as error:
            self.complain(leaf.key, str(error), origin)
        else:
            self.settings[leaf.key] = Setting(value, origin)


def in_file(path: str) -> Place:
    """Return the origins `path:line` of a file's keys."""
    return lambda node: Origin(f"{path}:{line(node)}")


def _list(leaf: Leaf, node: Any) -> list[Value] | None:
    if leaf.optional and isinstance(node, yaml.ScalarNode) and is_null(node.value, bool(node.style)):
        return None
    if not isinstance(node, yaml.SequenceNode):
        shown = "a mapping" if isinstance(node, yaml.MappingNode) else _shown(node)
        raise ScalarError(f"expected a list, got {shown}; fix: write it in brackets, such as [a, b]")
    return [_single(leaf, child) for child in node.value]


def _single(leaf: Leaf, node: Any) -> Value:
    if not isinstance(node, yaml.ScalarNode):
        shown = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        raise ScalarError(f"expected one value, got {shown}; fix: give a single value")
    return scalar(node.value, bool(node.style), leaf)


def _shown(node: Any) -> str:
    return "null" if is_null(node.value, bool(node.style)) else repr(node.value)


def _generic(key: str) -> str:
    parts = key.split(".")
    return ".".join([parts[0], ROW, *parts[2:]]) if parts[0] == "stages" and len(parts) > 2 else key


def _same_row(key: str, candidate: str) -> str:
    parts = key.split(".")
    is_row = parts[0] == "stages" and len(parts) > 2
    return candidate.replace(ROW, parts[1]) if is_row else candidate
