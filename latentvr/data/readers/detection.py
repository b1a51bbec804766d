"""Find out which format a file has, from its ending and its first row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from latentvr.data.readers.fields import wrong
from latentvr.data.readers.strict_json import json_lines, json_list
from latentvr.data.readers.tables import Table, datasets_folder, parquet
from latentvr.errors import RecordError

Container = Literal["jsonl", "json", "parquet", "datasets"]
RowFormat = Literal["latentvr", "llava", "trl", "meta"]
_CONTAINERS: tuple[str, ...] = get_args(Container)


@dataclass(frozen=True)
class Format:
    """What a file is.

    Attributes:
        container: how rows are stored.
        rows: what a row looks like; a "meta" row names a file of rows.
    """

    container: Container
    rows: RowFormat

    def __str__(self) -> str:
        """Give "llava rows in json"."""
        return f"{self.rows} rows in {self.container}"


@dataclass(frozen=True)
class RawRow:
    """A row as stored.

    Attributes:
        file: name of the file or table.
        number: of the row, from 1.
        split: the split that the table gives to its rows.
        value: the row, or what is wrong with it.
    """

    file: str
    number: int
    split: str | None
    value: Any | RecordError


@dataclass(frozen=True)
class Stored:
    """An opened file: its tables, if it has any, and the way to its rows.

    Attributes:
        path: of the file or folder.
        name: how errors name it.
        container: how rows are stored.
        tables: of parquet and `datasets`; empty for JSON.
    """

    path: Path
    name: str
    container: Container
    tables: tuple[Table, ...]

    def rows(self) -> Iterator[RawRow]:
        """Give all rows in order.

        Yields:
            RawRow: each row as stored, or what is wrong with it.

        Raises:
            RecordError: a JSON file is not a list of rows.
        """
        if self.container in ("jsonl", "json"):
            lines = json_lines if self.container == "jsonl" else json_list
            for number, value in lines(self.path, self.name):
                yield RawRow(self.name, number, None, value)
        for table in self.tables:
            for number, value in table.rows():
                yield RawRow(table.file, number, table.split, value)


def open_stored(path: str | Path, name: str | None = None) -> Stored:
    """Open a file or folder of rows.

    Args:
        path: file or folder.
        name: how errors shall name it; its own name by default.

    Returns:
        The opened file.

    Raises:
        RecordError: it does not exist, or is of no known kind.
    """
    found = Path(path)
    if not found.exists():
        raise wrong("a file or folder of records", "none", found, "check the path")
    container = _container(found)
    name = name or found.name
    tables: list[Table] = []
    if container == "parquet":
        tables = parquet(found, name)
    elif container == "datasets":
        tables = datasets_folder(found, name)
    return Stored(found, name, container, tuple(tables))


def detect(path: str | Path) -> Format:
    """Say which format a file has.

    Args:
        path: file or folder.

    Returns:
        Its container and the format of its rows.

    Raises:
        RecordError: no known format.
    """
    stored = open_stored(path)
    return Format(stored.container, row_format(stored))


def row_format(stored: Stored) -> RowFormat:
    """Judge the row format by the first row that is an object.

    Args:
        stored: the opened file.

    Returns:
        The format of the rows.

    Raises:
        RecordError: there is no row, or the first has the keys of no known format.
    """
    first: RecordError | None = None
    for raw in stored.rows():
        if isinstance(raw.value, Mapping):
            return _judge(raw.value, f"{raw.file} row {raw.number}")
        if first is None and isinstance(raw.value, RecordError):
            first = raw.value
    raise first or wrong("at least one row", "none", stored.path, "check how the file was written")


def _container(path: Path) -> Container:
    if path.is_dir():
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            return "datasets"
        raise wrong("a folder of save_to_disk", "another folder", path, "name the file of records in it")
    for container in _CONTAINERS:
        if path.suffix.lower() == f".{container}":
            return container  # type: ignore[return-value]
    raise wrong("a file .jsonl, .json or .parquet", repr(path.suffix), path, "rename or convert the file")


def _judge(row: Mapping[str, Any], where: str) -> RowFormat:
    if "conversations" in row:
        return "llava"
    if "messages" in row or "completion" in row or isinstance(row.get("prompt"), list):
        return "trl"
    if "answer" in row and ("prompt" in row or "question" in row):
        return "latentvr"
    if "data_path" in row:
        return "meta"
    expected = "keys of a known format (answer with prompt or question; conversations; messages; data_path)"
    raise wrong(expected, ", ".join(map(ascii, list(row)[:12])) or "no key", where, "see docs/data.md")
