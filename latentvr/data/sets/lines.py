"""JSON lines as they are published: strictly read, but for a byte order mark and blank lines at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import wrong
from latentvr.data.readers.strict_json import MAX_LINE_BYTES, parse

_MARK = b"\xef\xbb\xbf"


def published_lines(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """Give the value of each line with its number, counted from 1.

    Args:
        path: of the file.
        name: how errors name it.

    Yields:
        tuple[int, Any]: number and JSON value of each line.

    Raises:
        RecordError: a line is no strict JSON, is longer than 10 MB, or is blank with another one behind it.
    """
    blank = 0
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                expected, fix = f"a line of at most {MAX_LINE_BYTES} bytes", "download the file again"
                raise wrong(expected, "a longer one", f"{name} row {number}", fix)
            line = line.removeprefix(_MARK) if number == 1 else line
            if not line.strip():
                blank = blank or number
                continue
            if blank:
                raise wrong("a row in each line", "none", f"{name} row {blank}", "take blank lines out")
            yield number, parse(line, f"{name} row {number}")
