"""JSON and JSON lines, read strictly: UTF-8, no NaN, no key twice, no endless line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from latentvr.data.readers.fields import wrong
from latentvr.errors import RecordError

MAX_LINE_BYTES = 10_000_000


def parse(data: bytes, where: str) -> Any:
    """Parse one JSON value.

    Args:
        data: UTF-8 bytes.
        where: what errors name as the place.

    Returns:
        The value.

    Raises:
        RecordError: it is not strict JSON.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise wrong("JSON of moderate depth", "very deep nesting", where, "flatten the row") from error
    except ValueError as error:
        problem = " ".join(ascii(str(error))[1:-1].split())[:200]
        raise wrong("strict JSON in UTF-8", problem, where, "write the row with a JSON library") from error


def json_lines(path: Path, name: str) -> Iterator[tuple[int, Any | RecordError]]:
    """Give the value of each line with its number, counted from 1, or the error of the line.

    A line above 10 MB ends the reading after its error, for the next line cannot be found safely.

    Args:
        path: of the file.
        name: how errors name it.

    Yields:
        tuple[int, Any | RecordError]: number and value, or error, of each line.
    """
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{name} row {number}"
            if len(line) > MAX_LINE_BYTES:
                limit = f"a line of at most {MAX_LINE_BYTES} bytes"
                yield number, wrong(limit, "a longer one", where, "keep images in files of their own")
                return
            try:
                yield number, parse(line, where)
            except RecordError as error:
                yield number, error


def json_list(path: Path, name: str) -> Iterator[tuple[int, Any | RecordError]]:
    """Give the items of a JSON file that holds one list, counted from 1.

    Args:
        path: of the file.
        name: how errors name it.

    Yields:
        tuple[int, Any | RecordError]: number and value of each item.

    Raises:
        RecordError: the file is not strict JSON, or holds no list.
    """
    value = parse(path.read_bytes(), name)
    if not isinstance(value, list):
        fix = "write one list of rows, or name the file .jsonl"
        raise wrong("a JSON list of rows", type(value).__name__, name, fix)
    yield from enumerate(value, start=1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} twice")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")
