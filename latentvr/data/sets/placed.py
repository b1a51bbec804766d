"""Find a file whose written path begins somewhere else than the data set's folder does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath


def placed(name: str, folders: Sequence[Path]) -> Path | None:
    """Look for a file by the end of its written path, the longest end first.

    "./data/set/images/3.png" is "images/3.png" where the folder is that of the set. The file's name alone
    counts only where nothing was left off before it, or where what was left off ends in the folder's own
    name: "level3/3.png" and "level4/3.png" are never the same file.

    Args:
        name: as a data set writes it, with "/" between folders.
        folders: to look in, in this order.

    Returns:
        The file, or None: there is none, or the name climbs or leads out of the folder by a link.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".")]
    if not parts or ".." in parts or "\0" in name:
        return None
    for start in range(len(parts)):
        for folder in folders:
            if start and start == len(parts) - 1 and parts[start - 1] != folder.resolve().name:
                continue
            path = folder.joinpath(*parts[start:])
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                return path
    return None


def nowhere(name: str, folder: Path) -> Path:
    """Give a path below the folder for a name that `placed` finds no file of, for errors to show."""
    parts = ["..." if part == ".." else part.replace("\0", "?") for part in PurePosixPath(name).parts]
    return folder.joinpath(*(part for part in parts if part not in ("/", ".")))
