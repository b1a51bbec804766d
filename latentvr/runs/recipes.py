"""The shipped recipes."""

from __future__ import annotations

from pathlib import Path

from latentvr.config.shipped import PLACES, shipped
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
    found = shipped(name)
    if found is None:
        raise UserError(
            f"expected the recipe {name!r}, got none, at {PLACES[0]}; fix: install latentvr again"
        )
    return found
