"""The records of a benchmark with their pictures, which are read and decoded when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from latentvr.data.images import decode_image, open_image
from latentvr.data.readers.fields import Place, shown, wrong
from latentvr.data.readers.validation import validate
from latentvr.data.record import Record
from latentvr.data.sets.stored import Stored

Picture = Stored | str


@dataclass(frozen=True)
class Item:
    """A record in its source.

    Attributes:
        record: one question.
        where: its file and row.
        pictures: in prompt order: cells of tables, or paths below the folder of the benchmark.
    """

    record: Record
    where: str
    pictures: tuple[Picture, ...]


class BenchmarkSource:
    """Records and the pictures that belong to them.

    Args:
        items: at least one.
        path: the benchmark's folder or file; pictures in files of their own lie below it.
        notes: what else was found out while reading, such as the number of dead links; JSON values.

    Attributes:
        records: in the order of the benchmark.
        notes: as given.

    Raises:
        RecordError: no record, an id twice, or a record that contradicts itself.
    """

    records: Sequence[Record]

    def __init__(self, items: Sequence[Item], path: Path, notes: Mapping[str, Any] | None = None) -> None:
        if not items:
            raise wrong("at least one question", "none", path, "name the folder of the benchmark")
        self.records = tuple(item.record for item in items)
        self.notes: Mapping[str, Any] = dict(notes or {})
        self._items = {item.record.id: item for item in items}
        self._root, self._folder = _root(path)
        if len(self._items) != len(items):
            twice = next(name for name, n in Counter(record.id for record in self.records).items() if n > 1)
            raise wrong("each id once", f"{shown(twice)} again", path, "name one copy of the benchmark")
        for item in items:
            validate(item.record, _Named(item.where))

    def where(self, record: Record) -> str:
        """Name the file and row of one of the records."""
        return self._items[record.id].where

    def images(self, record: Record) -> list[Image.Image]:
        """Give the record's pictures as RGB, in prompt order.

        Args:
            record: one of `records`.

        Returns:
            One RGB picture for each of `Record.images`.

        Raises:
            ImageError: one is missing, unsafe or unreadable; the message names file and row.
        """
        item = self._items[record.id]
        return [self._open(picture, item.where) for picture in item.pictures]

    def _open(self, picture: Picture, where: str) -> Image.Image:
        if isinstance(picture, Stored):
            return decode_image(picture.read(), f"{where}, {picture.column}")
        return open_image(self._folder + picture, self._root, where)


class _Named(Place):
    """A place that is known by its name alone."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 0, None, "")

    def __str__(self) -> str:
        return self.file


def name_of(picture: Picture) -> str:
    """The picture's name in `Record.images`."""
    return picture.name if isinstance(picture, Stored) else picture


def below(file: Path, path: Path) -> str:
    """Give a picture's path below the benchmark's folder.

    Args:
        file: of the picture.
        path: the benchmark's folder, or a file in it.

    Returns:
        The relative path, with "/" between folders; a file elsewhere keeps its whole path, which is refused
        when the picture is opened.
    """
    folder = path.parent if path.is_file() else path
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()


def _root(path: Path) -> tuple[Path, str]:
    """The folder that no picture's link may leave, and the way from there to the benchmark's folder.

    In the cache of huggingface_hub, files of `snapshots/REVISION` are links to `blobs` beside it.
    """
    folder = path.parent if path.is_file() else path
    cache = folder.parent.parent
    if folder.parent.name == "snapshots" and (cache / "blobs").is_dir():
        return cache, f"snapshots/{folder.name}/"
    return folder, ""
