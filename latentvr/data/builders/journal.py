"""What a build has done so far, so that one that was stopped goes on where it was."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentvr.data.readers.strict_json import parse
from latentvr.errors import RecordError, UserError

FOLDER = ".building"
MANIFEST = "manifest.json"


@contextmanager
def opened(out: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Take a folder for a build: a new or empty one, or one where the same build was stopped.

    Args:
        out: folder of the records.
        settings: of the build, JSON values; a build that goes on has the same.

    Yields:
        Path: the folder of the journals, which the end of the build removes.

    Raises:
        UserError: the folder is complete, in use, of another build, or holds anything else.
    """
    place = out / FOLDER
    if (out / MANIFEST).exists():
        raise UserError(
            f"expected a folder without records, got a complete build, at {str(out)!r}; "
            "fix: choose another folder with --out, or remove this one"
        )
    if out.exists() and not place.is_dir() and any(out.iterdir()):
        raise UserError(
            f"expected an empty folder, got one with other files, at {str(out)!r}; "
            "fix: choose another folder with --out"
        )
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"expected a folder of its own, got one that another build writes to, at {str(out)!r}; "
                "fix: wait for it, or choose another folder with --out"
            ) from error
        _require_same(place / "settings.json", settings, out)
        yield place
        shutil.rmtree(place)


def _require_same(file: Path, settings: Mapping[str, Any], out: Path) -> None:
    text = json.dumps(settings, indent=2, sort_keys=True)
    if not file.exists():
        write(file, text.encode())
        return
    before, now = json.loads(file.read_text()), json.loads(text)
    other = [key for key in now if before.get(key) != now[key]]
    if other:
        raise UserError(
            f"expected to go on with the same {' and '.join(other)}, got others, at {str(out)!r}; "
            "fix: build with the settings that were begun with, or remove the folder"
        )


class Journal:
    """The outcomes of a split's candidates, a line each, in the order in which they were tried.

    Args:
        file: of the split; what is in it is what an earlier process got done.

    Attributes:
        done: outcomes by the candidates' keys.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.done: dict[str, dict[str, Any]] = {}
        if file.exists():
            # A line without its end was cut off by a kill.
            whole, end, _ = file.read_bytes().rpartition(b"\n")
            for number, line in enumerate(whole.split(b"\n") if end else (), 1):
                entry = parse(line, f"{file} row {number}")
                self.done[entry["key"]] = entry
            write(file, whole + end)

    def add(self, entry: dict[str, Any]) -> None:
        """Append the outcome of a candidate, which is then done: workers that look ahead pass it by."""
        self.done[entry["key"]] = entry
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")


def write(file: Path, content: bytes) -> None:
    """Write a file in one step: a kill leaves nothing or all of it.

    Args:
        file: its folder is made if missing.
        content: of the file.

    Raises:
        RecordError: it cannot be written.
    """
    aside = file.with_name(f"{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(file)
    except OSError as error:
        raise RecordError(
            f"expected to write a file, got: {error.strerror or error}, at {str(file)!r}; "
            "fix: make room or allow writing there, then run the same command again"
        ) from error
