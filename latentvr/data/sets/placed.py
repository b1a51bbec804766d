"""Find a file whose written path begins somewhere else than the data set's folder does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

# What file systems take at most, in bytes of a name.
_LONGEST = 255


def placed(name: str, folders: Sequence[Path]) -> Path | None:
    """Look for a file by the end of its written path, the longest end first.

    "./data/set/images/3.png" is "images/3.png" where the folder is that of the set. The file's name alone
    counts only where nothing was left off before it, or where what was left off ends in the folder's own
    name: "level3/3.png" and "level4/3.png" are never the same file. The file may be a link: whoever opens it
    below the data set's folder is told if it leads out (`latentvr.data.images.resolve_image`).

    Args:
        name: as a data set writes it, with "/" between folders.
        folders: to look in, in this order.

    Returns:
        The file, or None: there is none, or the name climbs or is no name of a file.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".")]
    if not parts or ".." in parts or any(_shown(part) != part for part in parts):
        return None
    for start in range(len(parts)):
        for folder in folders:
            if start and start == len(parts) - 1 and parts[start - 1] != folder.resolve().name:
                continue
            path = folder.joinpath(*parts[start:])
            if _is_file(path):
                return path
    return None


def nowhere(name: str, folder: Path) -> Path:
    """Give a path below the folder for a name that `placed` finds no file of, for errors to show."""
    parts = ["..." if part == ".." else _shown(part) for part in PurePosixPath(name).parts[-8:]]
    return folder.joinpath(*(part for part in parts if part not in ("/", ".")))


def is_link_out(path: Path, root: Path) -> bool:
    """Whether a file is there, but links lead to it out of the data set's folder."""
    return _is_file(path) and not path.resolve().is_relative_to(root.resolve())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # Too many folders for one path, or a loop of links.
        return False


def _shown(part: str) -> str:
    """A part of a path that no file system refuses."""
    plain = part.encode(errors="replace").replace(b"\0", b"?")
    return plain[:_LONGEST].decode(errors="ignore")
