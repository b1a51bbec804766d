"""Predictions on disk while an evaluation runs, so that one that was stopped goes on with what is missing."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from latentvr.data.readers.fields import shown, wrong
from latentvr.data.readers.strict_json import json_lines
from latentvr.errors import RecordError, UserError
from latentvr.evaluation.metrics import Prediction

FILE = "predictions.partial.jsonl"
_FIX = "remove the file, or choose another folder with --out"


class Kept:
    """A file with the facts of an evaluation in its first line and a prediction in each other one.

    It is locked from the start to `close` or the end of the process. A file without a prediction is nobody's.

    Args:
        folder: of the results.
        facts: what the predictions belong to, JSON values; a file with other facts is refused.

    Attributes:
        done: predictions of an earlier process by record id; at the start alone.

    Raises:
        UserError: the file belongs to another evaluation, is damaged before its last line, or another process
            writes to it.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.file = folder / FILE
        self.done: dict[str, Prediction] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._stream = self.file.open("a+b")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                "expected a folder of its own, got one that another evaluation writes to, "
                f"at {str(folder)!r}; fix: wait for it, or choose another folder with --out"
            ) from error
        # As it is read back: without tuples.
        first = json.dumps({"facts": facts}, sort_keys=True)
        self._read(json.loads(first))
        if not self.done:
            self._stream.truncate(0)
            self._write([first])

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Append predictions; they are safe from the death of the process when the call returns."""
        self._write([json.dumps(made.to_json(), ensure_ascii=False) for made in predictions])

    def close(self) -> None:
        """Let others have the file."""
        self._stream.close()

    def _write(self, lines: Iterable[str]) -> None:
        self._stream.write("".join(f"{line}\n" for line in lines).encode())
        self._stream.flush()

    def _read(self, facts: Mapping[str, Any]) -> None:
        """Take over what is there; a last line without its end goes: a process died while it was written."""
        self._stream.seek(0)
        self._stream.truncate(self._stream.read().rfind(b"\n") + 1)
        rows = list(json_lines(self.file, str(self.file)))
        # A file with facts alone holds nothing that could be mixed.
        for number, row in rows if len(rows) > 1 else ():
            where = f"{self.file} row {number}"
            if isinstance(row, RecordError):
                raise row
            if number == 1:
                _require_same(row, facts, self.file)
                continue
            made = _prediction(row, where)
            if made.id in self.done:
                raise wrong("each record once", f"{made.id!a} again", where, _FIX)
            self.done[made.id] = made


def _prediction(row: Any, where: str) -> Prediction:
    """A prediction as `Prediction.to_json` gives it, of the types of its fields."""
    kinds: dict[str, tuple[type, ...]] = {
        **dict.fromkeys(("id", "task", "text", "expected", "rule"), (str,)),
        **dict.fromkeys(("correct", "failed"), (bool,)),
        "answer": (str, NoneType),
        "latent_steps": (int,),
    }
    if not isinstance(row, dict) or row.keys() != kinds.keys():
        raise wrong("a prediction", shown(row), where, _FIX)
    for name, types in kinds.items():
        if type(row[name]) not in types:
            raise wrong(f"{name} of a prediction", shown(row[name]), where, _FIX)
    return Prediction(**row)


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
