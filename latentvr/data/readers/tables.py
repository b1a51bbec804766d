"""Parquet files and `datasets` folders: rows, and the images that lie inside them.

A parquet file is read into memory whole; a `datasets` folder stays on disk, memory-mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import wrong

IMAGE_COLUMNS = ("image", "images")


@dataclass(frozen=True)
class Table:
    """One table of a file or folder.

    Attributes:
        file: how errors name it.
        split: the split that a `datasets` folder gives it.
        arrow: a `pyarrow.Table`.
    """

    file: str
    split: str | None
    arrow: Any

    @property
    def image_columns(self) -> list[str]:
        """Names of the columns that hold images, and not paths."""
        return [
            name for name in IMAGE_COLUMNS if name in self.arrow.column_names and self._holds_images(name)
        ]

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give the rows, counted from 1, without keys that are null.

        An embedded image is replaced by a key, from which `embedded` finds it again.
        """
        inside = self.image_columns
        texts = self.arrow.drop_columns(inside)
        counts = {name: self._counts(name) for name in inside}
        start = 0
        for batch in texts.to_batches(max_chunksize=1000) if texts.num_columns else ():
            for offset, row in enumerate(batch.to_pylist()):
                index = start + offset
                full = {key: value for key, value in row.items() if value is not None}
                for name in inside:
                    full[name] = [f"{self.file}#{index}/{name}/{k}" for k in range(counts[name][index])]
                yield index + 1, full
            start += batch.num_rows

    def embedded(self, key: str, where: str) -> bytes | str:
        """Give the bytes of an embedded image, or the path that stands in their place.

        Args:
            key: as `rows` made it.
            where: what errors name as the place.

        Returns:
            The image file's bytes, or a path below the image root.

        Raises:
            RecordError: the column holds neither.
        """
        index, name, k = key.rpartition("#")[2].split("/")
        value = self.arrow.column(name)[int(index)].as_py()
        item = value[int(k)] if isinstance(value, list) else value
        for found in (item.get("bytes"), item.get("path")) if isinstance(item, dict) else (item,):
            if isinstance(found, bytes | str):
                return found
        raise wrong("an image with bytes or a path", "neither", where, "write the data set again")

    def _holds_images(self, name: str) -> bool:
        import pyarrow.types as kinds

        kind = self.arrow.schema.field(name).type
        if kinds.is_list(kind) or kinds.is_large_list(kind):
            kind = kind.value_type
        return bool(kinds.is_struct(kind) or kinds.is_binary(kind) or kinds.is_large_binary(kind))

    def _counts(self, name: str) -> list[int]:
        """Count the images of each row."""
        import pyarrow.compute as compute
        import pyarrow.types as kinds

        column = self.arrow.column(name)
        if kinds.is_list(column.type) or kinds.is_large_list(column.type):
            return [count or 0 for count in compute.list_value_length(column).to_pylist()]
        return [int(valid) for valid in column.is_valid().to_pylist()]


def parquet(path: Path, name: str) -> list[Table]:
    """Open a parquet file.

    Args:
        path: of the file.
        name: how errors name it.

    Returns:
        One table.

    Raises:
        RecordError: it is damaged or no parquet file.
    """
    import pyarrow
    from pyarrow.parquet import read_table

    try:
        return [Table(name, None, read_table(path))]
    except (pyarrow.ArrowException, OSError) as error:
        raise wrong("a parquet file", _one_line(error), path, "write or download it again") from error


def datasets_folder(path: Path, name: str) -> list[Table]:
    """Open a folder that `save_to_disk` of `datasets` has written, one table for each split.

    Args:
        path: of the folder.
        name: how errors name it.

    Returns:
        One table for each split.

    Raises:
        RecordError: it is damaged or no such folder.
    """
    import datasets
    import pyarrow

    try:
        loaded = datasets.load_from_disk(str(path))
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise wrong("a folder of save_to_disk", _one_line(error), path, "write it again") from error
    if isinstance(loaded, datasets.DatasetDict):
        return [Table(f"{name}/{split}", str(split), part.data.table) for split, part in loaded.items()]
    return [Table(name, None, loaded.data.table)]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
