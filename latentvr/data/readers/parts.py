"""The files that a path stands for: itself, or those that a meta file names.

A meta file is a list of {"ds_name", "data_path", "image_folder"}, one object for each file of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from latentvr.data.images import relative_name
from latentvr.data.readers.detection import Format, RawRow, RowFormat, Stored, open_stored, row_format
from latentvr.data.readers.fields import Place, shown, text, wrong
from latentvr.data.readers.tables import Table
from latentvr.errors import ImageError, RecordError

KEYS = ("ds_name", "data_path", "image_folder")


@dataclass(frozen=True)
class Part:
    """One file of rows.

    Attributes:
        stored: the file.
        rows: what its rows look like.
        name: that the meta file gives it; None without a meta file.
        folder: of its images, below the image root; "" for the root itself.
        tables: those of its tables that hold images, by name.
    """

    stored: Stored
    rows: RowFormat
    name: str | None = None
    folder: str = ""
    tables: Mapping[str, Table] = field(init=False)

    def __post_init__(self) -> None:
        """Look up the tables with images once."""
        tables = {table.file: table for table in self.stored.tables if table.image_columns}
        object.__setattr__(self, "tables", tables)

    def image_name(self, name: str) -> str:
        """Give the name of an image below the image root; keys of embedded images stay as they are.

        Args:
            name: as the row has it.

        Returns:
            The path below the image root. An unsafe name comes back unchanged, for the opening to refuse
            it as it was written.
        """
        if not self.folder or name.rpartition("#")[0] in self.tables:
            return name
        try:
            return f"{self.folder}/{relative_name(name, self.stored.name)}"
        except ImageError:
            return name


@dataclass(frozen=True)
class Opened:
    """All that a path stands for.

    Attributes:
        path: as given.
        format: of the file itself.
        root: the image root.
        parts: its files of rows, at least one.
    """

    path: Path
    format: Format
    root: Path
    parts: tuple[Part, ...]


def open_parts(path: str | Path, image_root: str | Path | None = None) -> Opened:
    """Open a file or folder of rows, or every file that a meta file names.

    Args:
        path: of rows, or of a meta file.
        image_root: all images lie below it; None means the folder of the file, or the folder itself.

    Returns:
        The files of rows, each with its format.

    Raises:
        RecordError: a file does not exist or has no known format, a meta file is wrong or names a meta
            file, or an image folder leaves the image root.
    """
    stored = open_stored(path)
    rows = row_format(stored)
    beside = stored.path if stored.path.is_dir() else stored.path.parent
    root = Path(image_root) if image_root is not None else beside
    if rows == "meta":
        parts = tuple(_part(raw, stored.path, root) for raw in stored.rows())
    else:
        parts = (Part(stored, rows),)
    return Opened(stored.path, Format(stored.container, rows), root, parts)


def _part(raw: RawRow, meta: Path, root: Path) -> Part:
    place = Place(raw.file, raw.number, None, "")
    if isinstance(raw.value, RecordError):
        raise raw.value
    if not isinstance(raw.value, dict) or not set(raw.value) <= set(KEYS):
        got = shown(list(raw.value) if isinstance(raw.value, dict) else raw.value)
        raise wrong(f"an object of {', '.join(KEYS)}", got, place, "remove the rest")
    name, data_path, image_folder = (_plain_text(raw.value, key, place) for key in KEYS)
    folder = _folder_below(root, image_folder, place)
    stored = open_stored(meta.parent / data_path, data_path)
    rows = row_format(stored)
    if rows == "meta":
        raise wrong("a file of rows", f"the meta file {shown(data_path)}", place, "name the files in it here")
    return Part(stored, rows, name, folder)


def _plain_text(row: Mapping[str, object], key: str, place: Place) -> str:
    """Take a field that goes into paths and messages; only the image folder may be empty or missing."""
    if key == "image_folder" and row.get(key) in (None, ""):
        return ""
    value = text(row, key, place)
    if not value.isprintable():
        raise wrong(f'printable characters in "{key}"', shown(value), place, "correct the name")
    return value


def _folder_below(root: Path, folder: str, place: Place) -> str:
    """Give an image folder relative to the root, links followed; "" for the root itself."""
    try:
        base = root.resolve()
        real = (base / folder).resolve()
    except (OSError, RuntimeError) as error:
        got = f"{shown(folder)}, which cannot be followed"
        raise wrong("an image folder", got, place, "correct image_folder or data.image_root") from error
    if not real.is_relative_to(base):
        expected = f"an image folder below the image root {root}"
        fix = "set data.image_root to a folder that holds all images"
        raise wrong(expected, shown(folder), place, fix)
    below = real.relative_to(base).as_posix()
    return "" if below == "." else below
