"""`metrics.jsonl`: one line per logged step, always written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class MetricsFile:
    """Appends whole lines; a kill leaves the last line whole or absent."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Write one line."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Drop lines after `step`, which a resumed run writes again."""
        rows = [row for row in read(self.path) if row.get("step", 0) <= step]
        aside = self.path.with_suffix(".partial")
        aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        aside.replace(self.path)


def read(path: Path) -> list[dict[str, Any]]:
    """Read all whole lines of a metrics file; none where there is no file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]
