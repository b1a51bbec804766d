"""A picture inside a table: where it lies, and its bytes when they are asked for."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Protocol

from latentvr.data.images import MAX_BYTES
from latentvr.data.readers.fields import wrong


class Table(Protocol):
    """A file with rows and columns."""

    def where(self, index: int) -> str:
        """Name a row for errors."""
        ...

    def cell(self, index: int, column: str) -> Any:
        """Read one cell."""
        ...


@dataclass(frozen=True)
class Stored:
    """A picture in a cell of a table.

    Attributes:
        table: the file.
        row: index of the row, from 0.
        column: name of the column.
        item: which one, from 0, where the cell holds a list of pictures.
    """

    table: Table
    row: int
    column: str
    item: int | None = None

    @property
    def name(self) -> str:
        """A name of the picture, unique in its data set."""
        name = f"{self.table.where(self.row)}/{self.column}"
        return name if self.item is None else f"{name}/{self.item}"

    def read(self) -> bytes:
        """Read the bytes of the picture's file.

        Returns:
            The bytes: a struct's "bytes", bytes themselves, or base64 text decoded.

        Raises:
            RecordError: the cell holds no picture, or broken or too long base64 text.
        """
        value = self.table.cell(self.row, self.column)
        where = f"{self.table.where(self.row)}, column {self.column}"
        if self.item is not None and isinstance(value, list):
            value = value[self.item]
        if isinstance(value, dict):
            value = value.get("bytes")
        if isinstance(value, str):
            return _from_base64(value, where)
        if not isinstance(value, bytes):
            raise wrong("an image with its bytes", "none", where, "download the file again")
        return value


def _from_base64(value: str, where: str) -> bytes:
    if len(value) > MAX_BYTES * 4 // 3 + 4:
        raise wrong(f"an image of at most {MAX_BYTES} bytes", "a larger one", where, "make the image smaller")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong("an image as base64 text", "other text", where, "download the file again") from error
