"""Parquet files whose cells are read when they are asked for, so that gigabytes of images stay on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import wrong

# Rows in memory while a file is listed; a row may hold an image.
_BATCH = 64


class LazyTable:
    """One parquet file.

    Args:
        path: of the file.
        name: how errors name it.

    Attributes:
        path: as given.
        name: as given.
        columns: names of its columns.

    Raises:
        RecordError: it is damaged or no parquet file.
    """

    def __init__(self, path: Path, name: str) -> None:
        import pyarrow

        self.path = path
        self.name = name
        try:
            file = _opened(path)
            self._stamp = path.stat().st_mtime_ns
        except (pyarrow.ArrowException, OSError) as error:
            got = " ".join(str(error).split())[:200] or type(error).__name__
            raise wrong("a parquet file", got, name, "write or download it again") from error
        self.columns: tuple[str, ...] = tuple(file.schema_arrow.names)
        self._groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]

    def where(self, index: int) -> str:
        """Name a row for errors; rows count from 1 there, from 0 everywhere else."""
        return f"{self.name} row {index + 1}"

    def rows(self, columns: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give the values of some columns, row by row and with nulls; unknown columns are left out.

        Args:
            columns: names of columns without images.

        Yields:
            tuple[int, dict[str, Any]]: index of the row, and its values by column.
        """
        wanted = [name for name in self.columns if name in columns]
        index = 0
        for batch in _opened(self.path).iter_batches(batch_size=1000, columns=wanted):
            for row in batch.to_pylist():
                yield index, row
                index += 1

    def filled(self, column: str) -> list[bool]:
        """Say for each row whether a column of images holds one; all of the column is read, in small parts.

        Args:
            column: of structs with bytes, of bytes or of texts.

        Returns:
            One value for each row; False for null, and for a struct whose bytes and path are null.
        """
        import pyarrow.compute as compute
        import pyarrow.types as kinds

        out: list[bool] = []
        for batch in _opened(self.path).iter_batches(batch_size=_BATCH, columns=[column]):
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
        """
        import pyarrow.compute as compute

        out: list[int] = []
        for batch in _opened(self.path).iter_batches(batch_size=_BATCH, columns=[column]):
            out += [count or 0 for count in compute.list_value_length(batch.column(0)).to_pylist()]
        return out

    def cell(self, index: int, column: str) -> Any:
        """Read one cell; the row group that it lies in is kept until another one is asked for.

        Args:
            index: of the row, from 0.
            column: its name.

        Returns:
            The value as a Python object.
        """
        group, offset = 0, index
        while offset >= self._groups[group]:
            offset -= self._groups[group]
            group += 1
        kept = _row_group(str(self.path), self._stamp, group)
        if column not in kept:
            kept[column] = _opened(self.path).read_row_group(group, columns=[column]).column(0)
        return kept[column][offset].as_py()


@lru_cache(maxsize=1)
def _row_group(_path: str, _stamp: int, _group: int) -> dict[str, Any]:
    """The columns read so far of the one row group that is kept in memory, whichever file it belongs to."""
    return {}


def _opened(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path)
