"""A file of records as a source, with its images opened safely."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from latentvr.data.images import decode_image, decoded_size, open_image, open_size
from latentvr.data.readers.parts import Part, open_parts
from latentvr.data.readers.reading import Origin, read_opened
from latentvr.data.record import Record


def open_picture(name: str, part: Part, root: Path, where: str) -> Image.Image:
    """Open one image as RGB, whether it lies beside the file of its record or inside it.

    Args:
        name: as in `Record.images`.
        part: the file of the record.
        root: image root.
        where: what errors name as the place.

    Returns:
        The picture as RGB.

    Raises:
        ImageError: it is missing, unsafe or unreadable.
        RecordError: an embedded image has neither bytes nor a path.
    """
    found = _stored(name, part, where)
    return decode_image(found, where) if isinstance(found, bytes) else open_image(found, root, where)


def picture_size(name: str, part: Part, root: Path, where: str) -> tuple[int, int]:
    """Width and height of the picture that `open_picture` would give, without decoding it.

    Args:
        name: as in `Record.images`.
        part: the file of the record.
        root: image root.
        where: what errors name as the place.

    Returns:
        Pixels of the upright picture.

    Raises:
        ImageError: it is missing, unsafe or no picture.
        RecordError: an embedded image has neither bytes nor a path.
    """
    found = _stored(name, part, where)
    return decoded_size(BytesIO(found), where) if isinstance(found, bytes) else open_size(found, root, where)


def _stored(name: str, part: Part, where: str) -> bytes | str:
    """The bytes of an image that lies in its record's file, or the name of its own file."""
    table = part.tables.get(name.rpartition("#")[0])
    if table is None:
        return name
    inside = table.embedded(name, where)
    return inside if isinstance(inside, bytes) else part.image_name(inside)


class FileSource:
    """Records of a file and their images.

    Attributes:
        records: in the order of the file.
    """

    records: Sequence[Record]

    def __init__(self, records: Sequence[Record], origins: Mapping[str, Origin], root: Path) -> None:
        """Join records with their images.

        Args:
            records: what was read.
            origins: where each record comes from, by id.
            root: image root.
        """
        self.records = tuple(records)
        self._origins = origins
        self._root = root

    def where(self, record: Record) -> str:
        """Name the file and row of one of the records."""
        return self._origins[record.id].where

    def images(self, record: Record) -> list[Image.Image]:
        """Give the record's images as RGB, in prompt order.

        Args:
            record: one of `records`.

        Returns:
            One RGB picture for each of `Record.images`.

        Raises:
            ImageError: one is missing, unsafe or unreadable; the message names file and row.
        """
        origin = self._origins[record.id]
        return [open_picture(name, origin.part, self._root, origin.where) for name in record.images]

    def sizes(self, record: Record) -> list[tuple[int, int]]:
        """Width and height of each of the record's images, from their headers.

        Args:
            record: one of `records`.

        Returns:
            Pixels of the pictures that `images` would give.

        Raises:
            ImageError: one is missing, unsafe or no picture; the message names file and row.
        """
        origin = self._origins[record.id]
        return [picture_size(name, origin.part, self._root, origin.where) for name in record.images]


def open_source(
    path: str | Path,
    image_root: str | Path | None = None,
    split: str | None = None,
    tasks: Collection[str] = (),
    limit: int | None = None,
) -> FileSource:
    """Open a file of records.

    Args:
        path: JSONL, JSON, parquet, a folder of `datasets`, or a meta file that names such files.
        image_root: all image paths stay below it; None means the folder of the file.
        split: keep the rows of this split; rows that name none belong to it (to "train" if None).
        tasks: keep the rows of these tasks; empty keeps all.
        limit: keep the first so many of those.

    Returns:
        The kept records with their images.

    Raises:
        RecordError: the first bad row, or nothing was kept.
    """
    opened = open_parts(path, image_root)
    records, origins = read_opened(opened, split, tasks, limit)
    return FileSource(records, origins, opened.root)
