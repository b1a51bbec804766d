"""Tab-separated files with images in them: scanned once, and read again at the row that is asked for."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from latentvr.data.images import MAX_BYTES
from latentvr.data.readers.fields import shown, wrong

# A picture of the largest size allowed, as base64 text.
_LIMIT = MAX_BYTES * 4 // 3 + 4


class LazyTsv:
    """One file with a header line and quotes where a field needs them.

    Args:
        path: of the file.
        name: how errors name it.

    Attributes:
        path: as given.
        name: as given.
        columns: names of its columns.

    Raises:
        RecordError: it cannot be read, or its header names a column twice.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self._starts: list[int] = []
        with path.open("rb") as stream:
            _, header = next(self._records(stream), (0, []))
        if not header or len(set(header)) != len(header):
            raise wrong("a header of distinct columns", shown(header), name, "write or download it again")
        self.columns: tuple[str, ...] = tuple(header)

    def where(self, index: int) -> str:
        """Name a row for errors; rows count from 1 there, from 0 everywhere else."""
        return f"{self.name} row {index + 1}"

    def rows(self, columns: Collection[str]) -> Iterator[tuple[int, dict[str, str]]]:
        """Give the texts of some columns, row by row, and note where each row starts.

        Args:
            columns: names of columns without images.

        Yields:
            tuple[int, dict[str, str]]: index of the row, and its texts by column.

        Raises:
            RecordError: a row has another number of fields than the header.
        """
        self._starts = []
        with self.path.open("rb") as stream:
            records = self._records(stream)
            next(records)
            for index, (start, fields) in enumerate(records):
                self._check(fields, index)
                self._starts.append(start)
                row = zip(self.columns, fields, strict=True)
                yield index, {name: value for name, value in row if name in columns}

    def cell(self, index: int, column: str) -> str:
        """Read one field.

        Args:
            index: of a row that `rows` has given, from 0.
            column: its name.

        Returns:
            The text.

        Raises:
            RecordError: the file has changed since it was scanned.
        """
        with self.path.open("rb") as stream:
            stream.seek(self._starts[index])
            _, fields = next(self._records(stream), (0, []))
        self._check(fields, index)
        return fields[self.columns.index(column)]

    def _check(self, fields: list[str], index: int) -> None:
        if len(fields) != len(self.columns):
            expected, got = f"{len(self.columns)} fields", f"{len(fields)}"
            raise wrong(expected, got, self.where(index), "write or download the file again")

    def _records(self, stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
        """Give each record with the byte at which it starts; a quoted field may hold line breaks."""
        lines = _Lines(stream)
        reader = csv.reader(lines, delimiter="\t", strict=True)
        while True:
            start = lines.position
            try:
                with _long_fields():
                    fields = next(reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError) as error:
                got = ascii(str(error))[1:-1][:200]
                raise wrong("tab-separated UTF-8 text", got, self.name, "download it again") from error
            if fields:
                yield start, fields


class _Lines:
    """Lines of a file as text, with the number of bytes taken so far."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.position = stream.tell()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(2 * _LIMIT)
        if not line:
            raise StopIteration
        first = self.position == 0
        self.position += len(line)
        return line.decode("utf-8-sig" if first else "utf-8")


@contextmanager
def _long_fields() -> Iterator[None]:
    """Allow fields of the size of a picture; the module's limit holds for the whole process."""
    before = csv.field_size_limit(_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)
