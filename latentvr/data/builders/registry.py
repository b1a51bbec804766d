"""The builders by name, and their parameters from `key=value` texts."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
from collections.abc import Sequence
from typing import Any

from latentvr.data.builders.builder import Builder
from latentvr.data.builders.rules import Rules
from latentvr.errors import UserError

#: Name on the command line to the builder's class, in the file of that name below `tasks`.
BUILDERS = {
    "counting": "Counting",
    "jigsaw": "Jigsaw",
    "localization": "Localization",
    "visual_correspondence": "VisualCorrespondence",
    "art_style": "ArtStyle",
    "semantic_correspondence": "SemanticCorrespondence",
    "functional_correspondence": "FunctionalCorrespondence",
    "relative_reflectance": "RelativeReflectance",
    "visual_similarity": "VisualSimilarity",
    "visual_cot": "VisualCot",
    "virl39k": "Virl39k",
    "sat": "Sat",
    "vsp": "Vsp",
}
_WORDS = {"true": True, "on": True, "false": False, "off": False}


def find(name: str) -> type[Builder]:
    """Give the builder of a task.

    Args:
        name: one of `BUILDERS`.

    Returns:
        Its class.

    Raises:
        UserError: there is no such builder.
    """
    if name not in BUILDERS:
        close = difflib.get_close_matches(name, BUILDERS, 1)
        meant = f"did you mean {close[0]!r}" if close else "choose one of them"
        raise UserError(
            f"expected a task of {', '.join(BUILDERS)} or toy, got {name!r}, at latentvr data build; "
            f"fix: {meant}"
        )
    module = importlib.import_module(f"latentvr.data.builders.tasks.{name}")
    found: type[Builder] = getattr(module, BUILDERS[name])
    return found


def parse_rules(builder: type[Builder], texts: Sequence[str]) -> Rules:
    """Make a builder's parameters from `key=value` texts.

    Args:
        builder: whose parameters.
        texts: such as "per_pair=4".

    Returns:
        The parameters, defaults where a key is not given.

    Raises:
        UserError: a text is no `key=value`, or the key or the value is wrong.
    """
    fields = {field.name: field for field in dataclasses.fields(builder.rules_type)}
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or key not in fields:
            close = difflib.get_close_matches(key, fields, 1)
            meant = f"did you mean {close[0]!r}" if close else f"one of {', '.join(fields)}"
            raise _wrong(builder, "KEY=VALUE with a parameter of the builder", text, meant)
        if key in values:
            raise _wrong(builder, f"{key} once", text, "give it once")
        values[key] = _parsed(builder, fields[key], value.strip(), text)
    return builder.rules_type(**values)


def _parsed(builder: type[Builder], field: dataclasses.Field[Any], value: str, text: str) -> Any:
    """One value, of the type that the field's annotation names."""
    kind, limits = str(field.type), field.metadata
    if kind == "int | None" and value.lower() in ("all", "null", "none"):
        return None
    if kind == "bool":
        if value.lower() not in _WORDS:
            raise _wrong(builder, f"{field.name} true or false", text, "write one of them")
        return _WORDS[value.lower()]
    if kind == "str":
        if limits["one_of"] and value not in limits["one_of"]:
            raise _wrong(builder, f"{field.name} of {', '.join(limits['one_of'])}", text, "write one of them")
        return value
    try:
        number: int | float = float(value) if kind == "float" else int(value)
    except ValueError as error:
        wanted = "a number" if kind == "float" else "a whole number"
        raise _wrong(builder, f"{wanted} as {field.name}", text, limits["text"]) from error
    low, high = limits["low"], limits["high"]
    low = 0 if low is None and kind == "int | None" else low
    within = (low is None or number >= low) and (high is None or number <= high)
    if not within or not math.isfinite(number):
        bounds = f"{low if low is not None else 'any'} to {high if high is not None else 'any'}"
        raise _wrong(builder, f"{field.name} in the range {bounds}", text, limits["text"])
    return number


def _wrong(builder: type[Builder], expected: str, got: str, fix: str) -> UserError:
    return UserError(f"expected {expected}, got {got!r}, at latentvr data build {builder.name}; fix: {fix}")
