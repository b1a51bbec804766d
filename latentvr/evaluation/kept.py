"""Predictions on disk while an evaluation runs, so that one that was stopped goes on with what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import wrong
from latentvr.data.readers.strict_json import json_lines
from latentvr.errors import RecordError, UserError
from latentvr.evaluation.metrics import Prediction

FILE = "predictions.partial.jsonl"
_FIX = "remove the file, or choose another folder with --out"


class Kept:
    """A file with the facts of an evaluation in its first line and a prediction in each other one.

    Args:
        folder: of the results.
        facts: what the predictions belong to, JSON values; a file with other facts is refused.

    Attributes:
        done: predictions of an earlier process by record id; at the start alone.

    Raises:
        UserError: the file belongs to another evaluation, or is damaged before its last line.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.file = folder / FILE
        self.done: dict[str, Prediction] = {}
        # As it is read back: without tuples.
        self._first = json.dumps({"facts": facts}, sort_keys=True)
        if self.file.is_file():
            self._cut()
            self._read(json.loads(self._first))

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Append predictions; they are safe from the death of the process when the call returns."""
        lines = [json.dumps(made.to_json(), ensure_ascii=False) + "\n" for made in predictions]
        if not self.file.is_file() or not self.file.stat().st_size:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lines.insert(0, self._first + "\n")
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write("".join(lines))

    def _cut(self) -> None:
        """Drop a last line without its end: the process died while it was written."""
        data = self.file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self.file.open("r+b") as stream:
                stream.truncate(len(whole))

    def _read(self, facts: Mapping[str, Any]) -> None:
        names = {item.name for item in fields(Prediction)}
        for number, row in json_lines(self.file, str(self.file)):
            where = f"{self.file} row {number}"
            if isinstance(row, RecordError):
                raise row
            if number == 1:
                _require_same(row, facts, self.file)
            elif not isinstance(row, dict) or row.keys() != names:
                raise wrong("a prediction", "something else", where, _FIX)
            else:
                self.done[row["id"]] = Prediction(**row)


def _require_same(row: Any, facts: Mapping[str, Any], file: Path) -> None:
    """Answers of two checkpoints, or with two settings, must not be mixed."""
    before = row.get("facts") if isinstance(row, dict) else None
    if not isinstance(before, dict):
        raise wrong("the facts of an evaluation in row 1", "something else", file, _FIX)
    now = facts["facts"]
    other = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if other:
        raise UserError(
            f"expected to go on with the same {' and '.join(other)}, got others, at {str(file)!r}; "
            f"fix: {_FIX}"
        )
