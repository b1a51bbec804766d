"""`metrics.jsonl`: one line per logged step, always written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from latentvr.errors import CheckpointError
from latentvr.trainers.writing import saved_or_told


class MetricsFile:
    """Appends whole lines; a line that a kill cut short is dropped by `read`.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Write one line.

        Args:
            row: figures and names as plain data; `step` is the optimiser step of the run.

        Raises:
            SaveError: the system refused the write.
        """
        with saved_or_told(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Drop lines after `step`, which a resumed run writes again.

        Args:
            step: optimiser step of the run.

        Raises:
            CheckpointError: a line is damaged.
            SaveError: the system refused the write.
        """
        rows = [row for row in read(self.path) if row.get("step", 0) <= step]
        aside = self.path.with_suffix(".partial")
        with saved_or_told(self.path):
            aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            aside.replace(self.path)


def read(path: Path) -> list[dict[str, Any]]:
    """Read all whole lines of a metrics file; none where there is no file.

    Args:
        path: the file.

    Returns:
        A row per line, in their order.

    Raises:
        CheckpointError: a line is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise CheckpointError(
                f"expected a JSON object per line, got another text, at {path}:{number}; "
                "fix: remove this line"
            )
        rows.append(row)
    return rows
