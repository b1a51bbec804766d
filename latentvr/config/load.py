"""A recipe file and `key=value` arguments to one typed, resolved recipe.

Later beats earlier: defaults, the method's own stages (where the recipe gives none), the recipe file, the
command line. Every value remembers where it came from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentvr.config import interpolation
from latentvr.config.document import Document, compose, read_document
from latentvr.config.fields import Leaf, Table, find, tree
from latentvr.config.nodes import Reading, in_file
from latentvr.config.provenance import COMMAND_LINE, METHOD_DEFAULT, Origin, Problem, Setting
from latentvr.config.schema import ReasonerConfig, Recipe
from latentvr.errors import RecipeError
from latentvr.reasoners import registry

_NAME = "reasoner.name"


@dataclass(frozen=True)
class Resolved:
    """A recipe ready for use.

    Attributes:
        recipe: typed values; `recipe.reasoner` is the `Config` of the method.
        provenance: full key to the place that gave its value.
        text: the recipe file as it was, empty where there was none.
        path: the recipe file as the user named it, None where there was none.
        unresolved: keys whose value holds an environment variable, as they were written.
    """

    recipe: Recipe
    provenance: dict[str, Origin]
    text: str
    path: str | None
    unresolved: dict[str, Any]

    def to_yaml(self) -> str:
        """Return all values as a recipe that loads the same.

        Values that hold environment variables are written as `${oc.env:…}`, so that none is saved to disk.
        """
        values = dataclasses.asdict(self.recipe)
        for key, value in self.unresolved.items():
            _put(values, key, value)
        text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
        return text


@dataclass(frozen=True)
class _Assignment:
    """One `key=value` of the command line."""

    key: str
    text: str


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Resolved:
    """Read a recipe, put the overrides on top and resolve it.

    Args:
        path: recipe file; None starts from the defaults.
        overrides: `key=value` texts with full keys, such as `optim.learning_rate=2e-4`.

    Returns:
        The typed recipe with the origin of every value.

    Raises:
        RecipeError: the file, a key or a value is wrong; all wrong keys and values are named, a line each.
    """
    document = None if path is None else read_document(path)
    assignments = [_assignment(text) for text in overrides]
    config, method = _method(document, assignments)
    reading = Reading(tree(config))
    reading.defaults(reading.schema)
    if document is not None:
        reading.read(reading.schema, document.root, in_file(document.path), Origin(document.path))
    _method_stages(reading, method)
    for assignment in assignments:
        _assign(reading, assignment)
        _method_stages(reading, method)
    _refuse(reading.problems or interpolation.problems(reading.settings))
    return _resolved(config, reading, document)


def _method(
    document: Document | None, assignments: Sequence[_Assignment]
) -> tuple[type[ReasonerConfig], str]:
    """Return the options' class and the name of the method that file and overrides ask for."""
    name, origin = ReasonerConfig().name, METHOD_DEFAULT
    if document is not None:
        node = _child(_child(document.root, "reasoner"), "name")
        if isinstance(node, yaml.ScalarNode):
            name, origin = node.value, in_file(document.path)(node)
    for assignment in assignments:
        if assignment.key == _NAME:
            name, origin = assignment.text, COMMAND_LINE
    if name not in registry.names():
        _refuse([Problem(_NAME, registry.unknown(name), origin)])
    return registry.config_class(name), name


def _child(node: Any, name: str) -> Any:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == name), None)


def _assignment(text: str) -> _Assignment:
    key, mark, value = text.partition("=")
    if not mark or not key.strip():
        raise RecipeError(
            f"expected key=value, got {text!r} at the command line; fix: write for example train.batch_size=2"
        )
    return _Assignment(key.strip(), value.strip())


def _stage_names(reading: Reading) -> list[str]:
    keys = (key.split(".") for key in reading.settings)
    return list(dict.fromkeys(parts[1] for parts in keys if parts[0] == "stages"))


def _method_stages(reading: Reading, method: str) -> None:
    """Take the method's own stages where there are none."""
    if _stage_names(reading):
        return
    for name, stage in registry.default_stages(method).items():
        for key, value in dataclasses.asdict(stage).items():
            reading.settings[f"stages.{name}.{key}"] = Setting(value, METHOD_DEFAULT)


def _assign(reading: Reading, assignment: _Assignment) -> None:
    key = assignment.key
    part = find(reading.schema, key)
    if part is None:
        reading.unknown(key, COMMAND_LINE)
        return
    stage = key.split(".")[1] if key.startswith("stages.") else None
    if stage is not None and stage not in _stage_names(reading):
        listed = ", ".join(_stage_names(reading))
        message = (
            f"expected a stage of {listed}, got {stage!r}; fix: use one of these or add it to the recipe"
        )
        reading.complain(key, message, COMMAND_LINE)
        return
    if isinstance(part, Leaf) and not part.is_list:
        node = yaml.ScalarNode("tag:yaml.org,2002:str", assignment.text)
    else:
        node = compose(assignment.text, f"command line {key}") or yaml.ScalarNode("", "")
    if isinstance(part, Table):
        for old in [old for old in reading.settings if old.startswith(f"{key}.")]:
            del reading.settings[old]
    reading.read(part, node, lambda _: COMMAND_LINE, COMMAND_LINE)


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise RecipeError("\n".join(str(problem) for problem in problems))


def _resolved(config: type[ReasonerConfig], reading: Reading, document: Document | None) -> Resolved:
    settings = reading.settings
    values: dict[str, Any] = {}
    for key, setting in settings.items():
        _put(values, key, setting.value)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Recipe(reasoner=config())), values)
        recipe = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise _interpolated(error, reading) from None
    if not isinstance(recipe, Recipe):
        raise TypeError(f"expected a Recipe, got {type(recipe)}")
    unresolved = {
        key: s.value for key, s in settings.items() if interpolation.from_environment(key, settings)
    }
    return Resolved(
        recipe=recipe,
        provenance={key: setting.origin for key, setting in settings.items()},
        text="" if document is None else document.text,
        path=None if document is None else document.path,
        unresolved=unresolved,
    )


def _interpolated(error: OmegaConfBaseException, reading: Reading) -> RecipeError:
    """Return the error for a value that fits its key only until `${…}` is replaced."""
    key = str(error.full_key).split("[")[0]
    part = find(reading.schema, key)
    setting = reading.settings[key]
    expected = part.type_text if isinstance(part, Leaf) else "a value"
    message = (
        f"expected {expected}, got {setting.value!r}, which stands for something else; fix: write the value"
    )
    return RecipeError(str(Problem(key, message, setting.origin)))


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[leaf] = value
