"""A file of records as a source, with its images opened safely."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from PIL import Image

from latentvr.data.images import decode_image, open_image
from latentvr.data.readers.detection import Stored, open_stored
from latentvr.data.readers.reading import read_stored
from latentvr.data.record import Record


class ImageShelf:
    """Opens the images of a file's records, whether they lie beside it or inside it."""

    def __init__(self, stored: Stored, root: str | Path | None) -> None:
        """Prepare to open images.

        Args:
            stored: the opened file of records.
            root: image root; None means the folder of the file, or the `datasets` folder itself.
        """
        beside = stored.path if stored.path.is_dir() else stored.path.parent
        self._root = Path(root) if root is not None else beside
        self._tables = {table.file: table for table in stored.tables if table.image_columns}

    def open(self, name: str, where: str) -> Image.Image:
        """Open one image as RGB.

        Args:
            name: as in `Record.images`.
            where: what errors name as the place.

        Returns:
            The picture as RGB.

        Raises:
            ImageError: it is missing, unsafe or unreadable.
            RecordError: an embedded image has neither bytes nor a path.
        """
        table = self._tables.get(name.rpartition("#")[0])
        if table is None:
            return open_image(name, self._root, where)
        inside = table.embedded(name, where)
        return (
            decode_image(inside, where)
            if isinstance(inside, bytes)
            else open_image(inside, self._root, where)
        )


class FileSource:
    """Records of a file and their images.

    Attributes:
        records: in the order of the file.
    """

    records: Sequence[Record]

    def __init__(self, records: Sequence[Record], places: dict[str, str], shelf: ImageShelf) -> None:
        """Join records with their images.

        Args:
            records: what was read.
            places: file and row of each record, by id.
            shelf: opens the images.
        """
        self.records = tuple(records)
        self._places = places
        self._shelf = shelf

    def images(self, record: Record) -> list[Image.Image]:
        """Give the record's images as RGB, in prompt order.

        Args:
            record: one of `records`.

        Returns:
            One RGB picture for each of `Record.images`.

        Raises:
            ImageError: one is missing, unsafe or unreadable; the message names file and row.
        """
        where = self._places[record.id]
        return [self._shelf.open(name, where) for name in record.images]


def open_source(
    path: str | Path,
    image_root: str | Path | None = None,
    split: str | None = None,
    tasks: Collection[str] = (),
    limit: int | None = None,
) -> FileSource:
    """Open a file of records.

    Args:
        path: JSONL, JSON, parquet, or a folder of `datasets`.
        image_root: all image paths stay below it; None means the folder of the file.
        split: keep the rows of this split; rows that name none belong to it (to "train" if None).
        tasks: keep the rows of these tasks; empty keeps all.
        limit: keep the first so many of those.

    Returns:
        The kept records with their images.

    Raises:
        RecordError: the first bad row, or nothing was kept.
    """
    stored = open_stored(path)
    records, places = read_stored(stored, split, tasks, limit)
    return FileSource(records, places, ImageShelf(stored, image_root))
