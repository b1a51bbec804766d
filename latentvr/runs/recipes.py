"""Where the shipped recipes lie."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from latentvr.errors import UserError


def recipe_file(name: str) -> Path:
    """Find a shipped recipe, in the source tree or where the wheel put it.

    Args:
        name: file name.

    Returns:
        Its path.

    Raises:
        UserError: it is in neither place.
    """
    places = (
        Path(__file__).parents[2] / "recipes",
        Path(sysconfig.get_path("data")) / "share/latentvr/recipes",
    )
    found = next((place / name for place in places if (place / name).is_file()), None)
    if found is None:
        raise UserError(
            f"expected the recipe {name!r}, got none, at {places[0]}; fix: install latentvr again"
        )
    return found
