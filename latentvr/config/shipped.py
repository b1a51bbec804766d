"""Where recipes, published configs and launchers lie: beside the source, or where the wheel put them."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path

from latentvr.errors import UserError

PLACES = (
    Path(__file__).parents[2] / "recipes",
    Path(sysconfig.get_path("data")) / "share/latentvr/recipes",
)
LAUNCHERS = tuple(place.with_name("launchers") for place in PLACES)


def shipped(name: str) -> Path | None:
    """Find a shipped file.

    Args:
        name: path below `recipes/`.

    Returns:
        The file, or None where it is in neither place.
    """
    return _found(name, PLACES)


def shipped_launcher(name: str) -> Path | None:
    """Find a shipped script or file of DeepSpeed settings.

    Args:
        name: path below `launchers/`.

    Returns:
        The file, or None where it is in neither place.
    """
    return _found(name, LAUNCHERS)


def recipe_file(name: str) -> Path:
    """Find a shipped recipe, in the source tree or where the wheel put it.

    Args:
        name: file name.

    Returns:
        Its path.

    Raises:
        UserError: it is in neither place.
    """
    return _required("recipe", name, PLACES)


def launcher_file(name: str) -> Path:
    """Find a shipped launcher, in the source tree or where the wheel put it.

    Args:
        name: file name, such as `torchrun.sh` or `deepspeed/zero2.json`.

    Returns:
        Its path.

    Raises:
        UserError: it is in neither place.
    """
    return _required("launcher", name, LAUNCHERS)


def _required(what: str, name: str, places: Sequence[Path]) -> Path:
    found = _found(name, places)
    if found is None:
        raise UserError(
            f"expected the {what} {name!r}, got none, at {places[0]}; fix: install latentvr again"
        )
    return found


def _found(name: str, places: Sequence[Path]) -> Path | None:
    return next((place / name for place in places if (place / name).is_file()), None)
