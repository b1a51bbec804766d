"""A recipe file to YAML nodes: bounded in size, depth and aliases, with the line of every key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from latentvr.errors import RecipeError

MAX_BYTES = 1_000_000
MAX_ALIASES = 100
MAX_DEPTH = 20
_TAGS = {f"tag:yaml.org,2002:{name}" for name in
         ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value")}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """A recipe file.

    Attributes:
        path: as the user gave it.
        text: the file's text, unchanged.
        root: mapping node of the whole file.
    """

    path: str
    text: str
    root: Any


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that a recipe has no use for."""


class _Loader(yaml.SafeLoader):
    """Composes nodes and never constructs objects; refuses what a recipe has no use for."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.aliases = 0
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.aliases += self.check_event(yaml.AliasEvent)
        self.depth += 1
        mark = self.peek_event().start_mark
        if self.aliases > MAX_ALIASES:
            raise _Refused(problem=f"more than {MAX_ALIASES} aliases", problem_mark=mark)
        if self.depth > MAX_DEPTH:
            raise _Refused(problem=f"more than {MAX_DEPTH} nested levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node.tag not in _TAGS:
            raise _Refused(problem=f"the tag {node.tag!r}", problem_mark=node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(problem="a key that is not text", problem_mark=key.start_mark)
            if key.value in seen:
                problem = f"the key {key.value!r} twice (first in line {seen[key.value]})"
                raise _Refused(problem=problem, problem_mark=key.start_mark)
            seen[key.value] = line(key)
        return node


def line(node: Any) -> int:
    """Return the line of a node, counted from 1."""
    return int(node.start_mark.line) + 1


def compose(text: str, where: str) -> Any:
    """Return the root node of a YAML text, None where it is empty.

    Args:
        text: the YAML text.
        where: file name for messages.

    Returns:
        A YAML node; nothing is constructed from it.

    Raises:
        RecipeError: the text is not YAML, or has tags, repeated keys, or too many aliases or levels.
    """
    loader: Any = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}" if mark else where
        got = error.problem if isinstance(error, _Refused) else f"an unreadable text ({error.problem})"
        raise RecipeError(f"{place}: expected plain YAML, got {got}; fix: correct this line") from None
    except yaml.reader.ReaderError as error:
        row = text.count("\n", 0, max(int(error.position), 0)) + 1
        raise RecipeError(
            f"{where}:{row}: expected printable text, got the character {int(error.character):#06x}; "
            f"fix: remove it"
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


def read_document(path: str | Path) -> Document:
    """Read a recipe file.

    Args:
        path: recipe file.

    Returns:
        The text and its root mapping.

    Raises:
        RecipeError: no such file, a folder, too large, not UTF-8, empty, not YAML or not a mapping.
    """
    text = _text(Path(path))
    root = compose(text, str(path))
    if root is None:
        raise RecipeError(
            f"expected a recipe with at least one key, got an empty file at {path}; fix: write it"
        )
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        raise RecipeError(
            f"expected a mapping of sections, got {kind} at {path}:{line(root)}; fix: start with a section "
            f"such as 'reasoner:'"
        )
    return Document(str(path), text, root)


def _text(path: Path) -> str:
    if path.is_dir():
        raise RecipeError(f"expected a recipe file, got a folder at {path}; fix: name a .yaml file in it")
    if not path.exists():
        raise RecipeError(f"expected a recipe file, got nothing at {path}; fix: check the path")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise RecipeError(
            f"expected a recipe of at most {MAX_BYTES} bytes, got {size} at {path}; fix: shorten it"
        )
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"expected UTF-8 text, got the byte {data[error.start]:#04x} at {path}:{row}; "
            f"fix: save it as UTF-8"
        ) from None
