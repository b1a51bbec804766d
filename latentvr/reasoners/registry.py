"""Methods by name: folders of `latentvr.reasoners` and entry points of the group `latentvr.reasoners`.

A method is a package with `config.py` (`Config`, `default_stages`) and `reasoner.py` (`Reasoner`), or one
module with all three names. `published.py` with `recognise` is optional: it finds checkpoints that others
published. Settings are read without importing torch; `reasoner_class` imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from latentvr.config.schema import ReasonerConfig, StageConfig
from latentvr.config.suggest import close, sentence
from latentvr.errors import CheckpointError, RecipeError
from latentvr.reasoners.published import PublishedFolder, Recognised

if TYPE_CHECKING:
    from latentvr.reasoners.base import LatentReasoner

GROUP = "latentvr.reasoners"


def builtin_names() -> list[str]:
    """Return the names of the methods that come with the library, sorted."""
    return sorted(file.parent.name for file in Path(__file__).parent.glob("*/config.py"))


def names() -> list[str]:
    """Return the names of all installed methods, sorted.

    Returns:
        Built-in and installed names.

    Raises:
        RecipeError: two methods have one name.
    """
    return sorted(_targets())


def unknown(name: str) -> str:
    """Return the sentence for a name that no method has."""
    known = names()
    hint = sentence(close(name, known)) or "; fix: use one of these or install the package of the method"
    return f"expected a reasoner of {', '.join(known)}, got {name!r}{hint}"


def config_class(name: str) -> type[ReasonerConfig]:
    """Return the dataclass of a method's options.

    Args:
        name: a name of `names()`.

    Returns:
        A subclass of `ReasonerConfig`; imports no torch.

    Raises:
        RecipeError: no such method, or its package is not as this module says.
    """
    found = _attribute(name, "config", "Config")
    if not (isinstance(found, type) and issubclass(found, ReasonerConfig)):
        raise RecipeError(
            f"expected a subclass of ReasonerConfig, got {found!r} at {_targets()[name]} "
            f"(reasoner {name!r}); fix: derive Config from latentvr.config.schema.ReasonerConfig"
        )
    return found


def default_stages(name: str) -> dict[str, StageConfig]:
    """Return the phases of training that a method has where a recipe gives none.

    Args:
        name: a name of `names()`.

    Returns:
        Stages by name, in order.

    Raises:
        RecipeError: no such method, or its package is not as this module says.
    """
    stages: dict[str, StageConfig] = _attribute(name, "config", "default_stages")()
    return stages


def reasoner_class(name: str) -> type[LatentReasoner]:
    """Return the class of a method; imports torch.

    Args:
        name: a name of `names()`.

    Returns:
        The class `Reasoner` of the method.

    Raises:
        RecipeError: no such method, or its package is not as this module says.
    """
    found: type[LatentReasoner] = _attribute(name, "reasoner", "Reasoner")
    return found


def recognised(folder: PublishedFolder) -> Recognised | None:
    """Ask every method whether a folder is a published checkpoint of it.

    Args:
        folder: a model folder or hub id; imports no torch.

    Returns:
        The answer of the method that knows it, None for a plain model.

    Raises:
        CheckpointError: several methods claim it, or its files do not fit each other.
        RecipeError: a method's package cannot be imported.
    """
    asked = [(name, _recognise(name)) for name in names()]
    answers = [(name, ask(folder)) for name, ask in asked if ask is not None]
    found = [(name, answer) for name, answer in answers if answer is not None]
    if len(found) > 1:
        raise CheckpointError(
            f"expected a checkpoint of one method, got one of {' and '.join(name for name, _ in found)}, "
            f"at {folder.path!r}; fix: uninstall the package of the others"
        )
    return found[0][1] if found else None


def _recognise(name: str) -> Callable[[PublishedFolder], Recognised | None] | None:
    """The method's function `recognise`, if it has one."""
    target = _targets()[name]
    module = _import(name, target)
    if hasattr(module, "__path__"):
        if importlib.util.find_spec(f"{target}.published") is None:
            return None
        module = _import(name, f"{target}.published")
    return getattr(module, "recognise", None)


def _targets() -> dict[str, str]:
    found = {name: f"latentvr.reasoners.{name}" for name in builtin_names()}
    for point in metadata.entry_points(group=GROUP):
        if found.setdefault(point.name, point.value) != point.value:
            raise RecipeError(
                f"expected one package for the reasoner {point.name!r}, got {found[point.name]} and "
                f"{point.value}; fix: uninstall one of them"
            )
    return found


def _attribute(name: str, submodule: str, attribute: str) -> Any:
    targets = _targets()
    if name not in targets:
        raise RecipeError(unknown(name))
    module = _import(name, targets[name])
    if hasattr(module, "__path__"):
        module = _import(name, f"{targets[name]}.{submodule}")
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise RecipeError(
            f"expected {attribute} in {module.__name__} (reasoner {name!r}), got none; fix: define it there"
        ) from None


def _import(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(target)
    except ImportError as error:
        raise RecipeError(
            f"expected an importable package {target} for the reasoner {name!r}, got {error}; "
            f"fix: reinstall it"
        ) from error
