"""Read records from any known format, row by row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentvr.data.readers import llava, own, trl
from latentvr.data.readers.detection import Format, RawRow, RowFormat
from latentvr.data.readers.fields import Place, shown, wrong
from latentvr.data.readers.parts import Opened, Part, open_parts
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
class Origin:
    """Where a record comes from.

    Attributes:
        where: file and row, as errors name it.
        part: the file.
    """

    where: str
    part: Part


@dataclass(frozen=True)
class ReadRow:
    """The outcome of one row.

    Attributes:
        origin: file and row.
        number: of the row, from 1.
        id: as far as it can be told, else "".
        result: the record, or what is wrong.
    """

    origin: Origin
    number: int
    id: str
    result: Record | RecordError


def read(
    path: str | Path,
    split: str | None = None,
    tasks: Collection[str] = (),
    limit: int | None = None,
    image_root: str | Path | None = None,
) -> list[Record]:
    """Read the records of a file.

    Args:
        path: JSONL, JSON, parquet, a folder of `datasets`, or a meta file that names such files.
        split: keep the rows of this split; rows that name none belong to it (to "train" if None).
        tasks: keep the rows of these tasks; empty keeps all.
        limit: keep the first so many of those; later rows are then not looked at.
        image_root: what the image folders of a meta file are relative to; None means its own folder.

    Returns:
        The kept records, in the order of the file.

    Raises:
        RecordError: the first bad row, or nothing was kept.
    """
    records, _ = read_opened(open_parts(path, image_root), split, tasks, limit)
    return records


def read_opened(
    opened: Opened, split: str | None = None, tasks: Collection[str] = (), limit: int | None = None
) -> tuple[list[Record], dict[str, Origin]]:
    """Read opened files as `read` does; give also the origin of each record by its id.

    Args:
        opened: the opened files.
        split: as for `read`.
        tasks: as for `read`.
        limit: as for `read`.

    Returns:
        The kept records, and the origin of each by its id.

    Raises:
        RecordError: the first bad row, or nothing was kept.
    """
    kept: list[Record] = []
    origins: dict[str, Origin] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows(opened, split):
        if limit is not None and len(kept) >= limit:
            break
        if isinstance(row.result, RecordError):
            raise row.result
        seen.add((row.result.split, row.result.task))
        if (split is None or row.result.split == split) and (not tasks or row.result.task in tasks):
            kept.append(row.result)
            origins[row.id] = row.origin
    if not kept:
        expected = f"records of split {split or 'any'} and tasks {', '.join(sorted(tasks)) or 'any'}"
        got = ", ".join(f"{task} ({part})" for part, task in sorted(seen)[:20]) or "none"
        raise wrong(expected, got, opened.path, "change the split or the tasks")
    missing = set(tasks) - {record.task for record in kept}
    if missing and limit is None:
        expected = f"records of each task in {', '.join(sorted(tasks))}"
        raise wrong(
            expected, f"none of {', '.join(sorted(missing))}", opened.path, "drop or correct the task"
        )
    return kept, origins


def rows(opened: Opened, split: str | None = None) -> Iterator[ReadRow]:
    """Read every row of every file, good or bad, and say in the log which formats they have.

    Args:
        opened: the opened files.
        split: of rows that name none.

    Yields:
        ReadRow: the outcome of each row; a second row with the same id is a bad one.
    """
    if opened.format.rows == "meta":
        logger.info("%s: %s, %d files", opened.path, opened.format, len(opened.parts))
    seen: dict[str, str] = {}
    for part in opened.parts:
        logger.info("%s: %s", part.stored.path, Format(part.stored.container, part.rows))
        for raw in part.stored.rows():
            row = _read_row(raw, part, split)
            if isinstance(row.result, Record):
                if row.id in seen:
                    got = f"{shown(row.id)} of {seen[row.id]} again"
                    row = replace(row, result=wrong("each id once", got, row.origin.where, "rename one"))
                else:
                    seen[row.id] = row.origin.where
            yield row


def _read_row(raw: RawRow, part: Part, split: str | None) -> ReadRow:
    task = part.name or part.stored.path.stem
    place = Place(raw.file, raw.number, raw.split or split, task, part.name)
    origin, value = Origin(str(place), part), raw.value
    if isinstance(value, RecordError):
        return ReadRow(origin, raw.number, "", value)
    if not isinstance(value, dict):
        error = wrong("a JSON object", type(value).__name__, place, "write one object for each row")
        return ReadRow(origin, raw.number, "", error)
    try:
        record = _PARSERS[part.rows](value, place)
        validate(record, place)
    except RecordError as error:
        name = value.get("id", value.get("question_id"))
        return ReadRow(origin, raw.number, str(name) if isinstance(name, str | int) else "", error)
    record = replace(record, images=tuple(part.image_name(name) for name in record.images))
    return ReadRow(origin, raw.number, record.id, record)
