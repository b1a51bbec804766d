"""Where recipes and published configs lie: beside the source, or where the wheel put them."""

from __future__ import annotations

import sysconfig
from pathlib import Path

PLACES = (
    Path(__file__).parents[2] / "recipes",
    Path(sysconfig.get_path("data")) / "share/latentvr/recipes",
)


def shipped(name: str) -> Path | None:
    """Find a shipped file.

    Args:
        name: path below `recipes/`.

    Returns:
        The file, or None where it is in neither place.
    """
    return next((place / name for place in PLACES if (place / name).is_file()), None)
