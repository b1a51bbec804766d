"""Parquet files whose cells are read when they are asked for, so that gigabytes of images stay on disk.

A row group may hold all of a file. So columns are read in order, a few rows at a time; nothing else of a
group is in memory. Cells that are asked for in the order of their rows cost one pass over the file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import wrong
from latentvr.errors import RecordError

#: Bytes of images in memory at a time.
WINDOW = 16_000_000
# Rows in memory at a time: of columns of texts, and at most of a column of images.
_TEXTS, _IMAGES = 1000, 64
_READ_AT_A_TIME = 65_536


class LazyTable:
    """One parquet file.

    Args:
        path: of the file.
        name: how errors name it.
        window: bytes of images in memory at a time, besides the page of the file that holds them.

    Attributes:
        path: as given.
        name: as given.
        columns: names of its columns.
        groups: number of rows in each row group.

    Raises:
        RecordError: it is damaged or no parquet file.
    """

    def __init__(self, path: Path, name: str, window: int = WINDOW) -> None:
        import pyarrow

        self.path = path
        self.name = name
        self._bytes = window
        try:
            file = _opened(path)
            self._stamp = path.stat().st_mtime_ns
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(error, name) from error
        self.columns: tuple[str, ...] = tuple(file.schema_arrow.names)
        metadata = file.metadata
        self.groups = tuple(metadata.row_group(i).num_rows for i in range(file.num_row_groups))

    def where(self, index: int) -> str:
        """Name a row for errors; rows count from 1 there, from 0 everywhere else."""
        return f"{self.name} row {index + 1}"

    def rows(self, columns: Collection[str], at_a_time: int = _TEXTS) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give the values of some columns, row by row and with nulls; unknown columns are left out.

        Args:
            columns: names of columns.
            at_a_time: rows in memory; few, where one of the columns holds images.

        Yields:
            tuple[int, dict[str, Any]]: index of the row, and its values by column.

        Raises:
            RecordError: the file is damaged.
        """
        wanted = [name for name in self.columns if name in columns]
        index = 0
        for batch in self._batches(wanted, at_a_time):
            try:
                values = batch.to_pylist()
            except UnicodeDecodeError as error:
                raise _damaged(error, self.name) from error
            for row in values:
                yield index, row
                index += 1

    def filled(self, column: str) -> list[bool]:
        """Say for each row whether a column of images holds one.

        Row groups whose statistics do not tell it are read, in small parts.

        Args:
            column: of structs with bytes, of bytes or of texts.

        Returns:
            One value for each row; False for null, and for a struct whose bytes and path are null.

        Raises:
            RecordError: the file is damaged.
        """
        out: list[bool] = []
        groups = _opened(self.path).metadata
        for group, count in enumerate(self.groups):
            known = _known(groups.row_group(group), column)
            out += [known] * count if known is not None else self._filled(column, group)
        return out

    def _filled(self, column: str, group: int) -> list[bool]:
        import pyarrow.compute as compute
        import pyarrow.types as kinds

        out: list[bool] = []
        for batch in self._batches([column], self._window(column), group):
            values = batch.column(0)
            valid = values.is_valid()
            if kinds.is_struct(values.type):
                parts = [values.field(i).is_valid() for i in range(values.type.num_fields)]
                some = parts[0]
                for part in parts[1:]:
                    some = compute.or_(some, part)
                valid = compute.and_(valid, some)
            out += valid.to_pylist()
        return out

    def counts(self, column: str) -> list[int]:
        """Count the items in each row of a column of lists; null counts 0.

        Args:
            column: of lists.

        Returns:
            One number for each row.

        Raises:
            RecordError: the file is damaged.
        """
        import pyarrow.compute as compute

        out: list[int] = []
        for batch in self._batches([column], self._window(column)):
            out += [count or 0 for count in compute.list_value_length(batch.column(0)).to_pylist()]
        return out

    def values(self, column: str) -> Iterator[Any]:
        """Give the values of a column of images in order.

        Args:
            column: its name.

        Yields:
            Any: the value of each row as a Python object.

        Raises:
            RecordError: the file is damaged.
        """
        for batch in self._batches([column], self._window(column)):
            for value in batch.column(0):
                yield value.as_py()

    def cell(self, index: int, column: str) -> Any:
        """Read one cell.

        A later row of the same row group is read on from there; an earlier one from the group's beginning.

        Args:
            index: of the row, from 0.
            column: its name.

        Returns:
            The value as a Python object.

        Raises:
            RecordError: the file is damaged.
        """
        group, offset = 0, index
        while offset >= self.groups[group]:
            offset -= self.groups[group]
            group += 1
        kept = _row_group(str(self.path), self._stamp, group, os.getpid())
        if column not in kept or kept[column].is_past(offset):
            kept[column] = _Column(self._batches([column], self._window(column), group))
        return kept[column].value(offset)

    def largest(self, column: str) -> int:
        """Give the bytes that a column takes in the row group in which it takes most."""
        metadata = _opened(self.path).metadata
        return max((_size(metadata.row_group(i), column) for i in range(len(self.groups))), default=0)

    def _window(self, column: str) -> int:
        """How many rows of a column of images to read at a time."""
        return max(1, min(_IMAGES, self._bytes * max(self.groups, default=1) // max(self.largest(column), 1)))

    def _batches(self, columns: list[str], size: int, group: int | None = None) -> Iterator[Any]:
        import pyarrow

        groups = None if group is None else [group]
        try:
            yield from _opened(self.path).iter_batches(size, row_groups=groups, columns=columns)
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(error, self.name) from error


class _Column:
    """One column of one row group, read on as far as it is asked for."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._batch: Any = ()
        self._first = 0

    def is_past(self, offset: int) -> bool:
        return offset < self._first

    def value(self, offset: int) -> Any:
        while offset >= self._first + len(self._batch):
            self._first += len(self._batch)
            self._batch = next(self._batches).column(0)
        return self._batch[offset - self._first].as_py()


@lru_cache(maxsize=1)
def _row_group(_path: str, _stamp: int, _group: int, _process: int) -> dict[str, _Column]:
    """The columns of the one row group that is being read; a forked process begins anew."""
    return {}


def _opened(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    # With its defaults a whole row group is read ahead.
    return ParquetFile(path, pre_buffer=False, buffer_size=_READ_AT_A_TIME)


def _size(group: Any, column: str) -> int:
    """Bytes of a column and of what lies in it, decompressed."""
    return sum(chunk.total_uncompressed_size for chunk in _chunks(group, column))


def _known(group: Any, column: str) -> bool | None:
    """Whether all rows of a group hold a value, or none does; None where some may, or nothing tells it."""
    statistics = [chunk.statistics for chunk in _chunks(group, column)]
    if not statistics or not all(one is not None and one.has_null_count for one in statistics):
        return None
    if any(one.null_count == 0 for one in statistics):
        return True
    return False if all(one.null_count == group.num_rows for one in statistics) else None


def _chunks(group: Any, column: str) -> list[Any]:
    chunks = (group.column(i) for i in range(group.num_columns))
    return [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] == column]


def _damaged(error: Exception, name: str) -> RecordError:
    got = " ".join(ascii(str(error))[1:-1].split())[:200] or type(error).__name__
    return wrong("a parquet file", got, name, "write or download it again")
