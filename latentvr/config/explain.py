"""The documentation of keys, made from the texts under the fields of the schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from latentvr.config.fields import ROW, Leaf, Part, Section, Table, find, leaves, texts, tree
from latentvr.config.schema import ReasonerConfig, Recipe
from latentvr.config.suggest import sentence, suggest
from latentvr.errors import RecipeError
from latentvr.reasoners import registry


@dataclass(frozen=True)
class Explanation:
    """What a key means.

    Attributes:
        key: full key; empty for the whole recipe.
        doc: what it is; empty where `variants` say it per method.
        keys: the keys of a section, with the first sentence of each; empty for a key with a value.
        variants: type, default and text of a key with a value; more than one where several methods have it.
    """

    key: str
    doc: str
    keys: tuple[tuple[str, str], ...]
    variants: tuple[Variant, ...]

    def to_text(self) -> str:
        """Return plain lines for a terminal."""
        lines = [f"{self.key}: {self.doc}" if self.key else self.doc] if self.doc else [self.key]
        for variant in self.variants:
            lines += [""] if variant.method else []
            lines += [f"  method   {variant.method}"] if variant.method else []
            lines += [f"  type     {variant.leaf.type_text}", f"  default  {shown(variant.leaf.default)}"]
            lines += [f"  {variant.leaf.doc}"]
        width = max((len(key) for key, _ in self.keys), default=0)
        lines += [f"  {key:<{width}}  {doc}".rstrip() for key, doc in self.keys]
        return "\n".join(lines)


@dataclass(frozen=True)
class Variant:
    """A key with a value, in one method; `method` is empty for keys that all methods share."""

    method: str
    leaf: Leaf


def explain(key: str = "") -> Explanation:
    """Explain a key, a section, or the whole recipe where `key` is empty.

    Args:
        key: full key; any stage name, or `<name>`, may stand in `stages.….epochs`.

    Returns:
        What the key means, with its sub-keys where it is a section.

    Raises:
        RecipeError: no installed method has such a key.
    """
    schemas = {name: tree(registry.config_class(name)) for name in registry.names()}
    parts = {name: find(schema, key) if key else schema for name, schema in schemas.items()}
    found = {name: part for name, part in parts.items() if part is not None}
    if not found:
        known = list(dict.fromkeys(leaf.key for schema in schemas.values() for leaf in leaves(schema)))
        hint = sentence(suggest(key, known)) or "; fix: list the sections with 'latentvr explain'"
        raise RecipeError(f"expected a key of the recipe, got {key!r}{hint}")
    if all(isinstance(part, Leaf) for part in found.values()):
        return _leaf(key, {name: part for name, part in found.items() if isinstance(part, Leaf)})
    children = dict(child for part in found.values() for child in _children(part))
    doc = texts(Recipe).get(key) or _doc(next(iter(found.values())))
    return Explanation(key, doc, tuple(children.items()), ())


def docs_reference() -> str:
    """Return the reference of all keys of the library's own methods as Markdown."""
    lines = [
        "# Recipe reference",
        "",
        "Every key of a recipe. This page is made from the texts in the code by "
        "`latentvr explain --markdown`; `latentvr explain KEY` shows one of them.",
    ]
    schema = tree(ReasonerConfig)
    for name, part in schema.children.items():
        lines += ["", f"## {name}", "", texts(Recipe)[name]]
        if name == "reasoner":
            for method in registry.builtin_names():
                section = tree(registry.config_class(method)).children[name]
                lines += ["", f"### {name}: {method}", "", _doc(section), "", *_table(section)]
        else:
            lines += ["", *_table(part)]
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """Return a default as a recipe would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, list) else str(value)


def _leaf(key: str, found: dict[str, Leaf]) -> Explanation:
    leaf = next(iter(found.values()))
    if not key.startswith("reasoner."):
        return Explanation(key, "", (), (Variant("", leaf),))
    return Explanation(key, "", (), tuple(Variant(name, part) for name, part in found.items()))


def _children(part: Part) -> Iterator[tuple[str, str]]:
    section = part.row(ROW) if isinstance(part, Table) else part
    if isinstance(section, Section):
        for name, child in section.children.items():
            yield child.key, (texts(Recipe)[name] if not section.key else _doc(child)).split(". ")[0]


def _doc(part: Part) -> str:
    return part.doc


def _table(part: Part) -> list[str]:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for leaf in leaves(part):
        cells = (f"`{leaf.key}`", leaf.type_text, f"`{shown(leaf.default)}`", leaf.doc)
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return rows
