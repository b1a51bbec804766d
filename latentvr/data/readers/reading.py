"""Read records from any known format, row by row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentvr.data.readers import llava, own, trl
from latentvr.data.readers.detection import Format, RawRow, RowFormat, Stored, open_stored, row_format
from latentvr.data.readers.fields import Place, shown, wrong
from latentvr.data.readers.validation import validate
from latentvr.data.record import Record
from latentvr.errors import RecordError

logger = logging.getLogger(__name__)

_PARSERS: dict[RowFormat, Callable[[Mapping[str, Any], Place], Record]] = {
    "latentvr": own.from_row,
    "llava": llava.from_row,
    "trl": trl.from_row,
}


@dataclass(frozen=True)
class ReadRow:
    """The outcome of one row.

    Attributes:
        where: file and row, as errors name it.
        number: of the row, from 1.
        id: as far as it can be told, else "".
        result: the record, or what is wrong.
    """

    where: str
    number: int
    id: str
    result: Record | RecordError


def read(
    path: str | Path, split: str | None = None, tasks: Collection[str] = (), limit: int | None = None
) -> list[Record]:
    """Read the records of a file.

    Args:
        path: JSONL, JSON, parquet, or a folder of `datasets`.
        split: keep the rows of this split; rows that name none belong to it (to "train" if None).
        tasks: keep the rows of these tasks; empty keeps all.
        limit: keep the first so many of those; later rows are then not looked at.

    Returns:
        The kept records, in the order of the file.

    Raises:
        RecordError: the first bad row, or nothing was kept.
    """
    records, _ = read_stored(open_stored(path), split, tasks, limit)
    return records


def read_stored(
    stored: Stored, split: str | None = None, tasks: Collection[str] = (), limit: int | None = None
) -> tuple[list[Record], dict[str, str]]:
    """Read an opened file as `read` does; give also the place of each record by its id.

    Args:
        stored: the opened file.
        split: as for `read`.
        tasks: as for `read`.
        limit: as for `read`.

    Returns:
        The kept records, and file and row of each by its id.

    Raises:
        RecordError: the first bad row, or nothing was kept.
    """
    kept: list[Record] = []
    places: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows(stored, row_format(stored), split):
        if limit is not None and len(kept) >= limit:
            break
        if isinstance(row.result, RecordError):
            raise row.result
        seen.add((row.result.split, row.result.task))
        if (split is None or row.result.split == split) and (not tasks or row.result.task in tasks):
            kept.append(row.result)
            places[row.id] = row.where
    if not kept:
        expected = f"records of split {split or 'any'} and tasks {', '.join(sorted(tasks)) or 'any'}"
        got = ", ".join(f"{task} ({part})" for part, task in sorted(seen)[:20]) or "none"
        raise wrong(expected, got, stored.path, "change the split or the tasks")
    missing = set(tasks) - {record.task for record in kept}
    if missing and limit is None:
        expected = f"records of each task in {', '.join(sorted(tasks))}"
        raise wrong(
            expected, f"none of {', '.join(sorted(missing))}", stored.path, "drop or correct the task"
        )
    return kept, places


def rows(stored: Stored, kind: RowFormat, split: str | None = None) -> Iterator[ReadRow]:
    """Read every row, good or bad, and say in the log which format they have.

    Args:
        stored: the opened file.
        kind: the format of its rows.
        split: of rows that name none.

    Yields:
        ReadRow: the outcome of each row.
    """
    logger.info("%s: %s", stored.path, Format(stored.container, kind))
    seen: dict[str, str] = {}
    for raw in stored.rows():
        read_row = _read_row(raw, kind, stored.path.stem, split)
        first = seen.get(read_row.id)
        if first is not None and isinstance(read_row.result, Record):
            error = wrong(
                "each id once", f"{shown(read_row.id)} of {first} again", read_row.where, "rename one"
            )
            read_row = replace(read_row, result=error)
        elif isinstance(read_row.result, Record):
            seen[read_row.id] = read_row.where
        yield read_row


def _read_row(raw: RawRow, kind: RowFormat, task: str, split: str | None) -> ReadRow:
    place = Place(raw.file, raw.number, raw.split or split, task)
    where, value = str(place), raw.value
    if isinstance(value, RecordError):
        return ReadRow(where, raw.number, "", value)
    if not isinstance(value, dict):
        error = wrong("a JSON object", type(value).__name__, place, "write one object for each row")
        return ReadRow(where, raw.number, "", error)
    try:
        record = _PARSERS[kind](value, place)
        validate(record, place)
    except RecordError as error:
        name = value.get("id")
        return ReadRow(where, raw.number, str(name) if isinstance(name, str | int) else "", error)
    return ReadRow(where, raw.number, record.id, record)
