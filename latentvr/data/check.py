"""Check a file of records to its end: every row, every image, and what the file holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from latentvr.data.readers.detection import Format
from latentvr.data.readers.parts import open_parts
from latentvr.data.readers.reading import ReadRow, rows
from latentvr.data.readers.source import open_picture
from latentvr.errors import ImageError, RecordError


@dataclass(frozen=True)
class BadRow:
    """A row that training would stop at.

    Attributes:
        row: its number in its file, from 1.
        id: of the record, "" if the row has none.
        sentence: what is wrong, where, and how to mend it.
    """

    row: int
    id: str
    sentence: str


@dataclass(frozen=True)
class Report:
    """What a check has found.

    Attributes:
        path: the file or folder.
        format: which format it has.
        n_rows: number of rows, good and bad.
        n_images: number of images opened without error.
        bad: every error, in the order of the rows; a row may have several.
        tasks: good rows of each task.
        splits: good rows of each split.
        answers: for each task, how often each answer is the right one.
    """

    path: Path
    format: Format
    n_rows: int
    n_images: int
    bad: tuple[BadRow, ...]
    tasks: dict[str, int]
    splits: dict[str, int]
    answers: dict[str, dict[str, int]]

    @property
    def ok(self) -> bool:
        """Whether no row is bad."""
        return not self.bad


def check(path: str | Path, image_root: str | Path | None = None) -> Report:
    """Read every row and open every image.

    Args:
        path: JSONL, JSON, parquet, a folder of `datasets`, or a meta file that names such files.
        image_root: as for `open_source`.

    Returns:
        What is wrong with the file, and what it holds.

    Raises:
        RecordError: the file as a whole cannot be read, or has no known format.
    """
    opened = open_parts(path, image_root)
    tasks: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    answers: dict[str, Counter[str]] = {}
    bad: list[BadRow] = []
    n_rows = n_images = 0
    for row in rows(opened):
        n_rows += 1
        problems, good = _problems(row, opened.root)
        n_images += good
        bad.extend(BadRow(row.number, row.id, problem) for problem in problems)
        if not problems and not isinstance(row.result, RecordError):
            tasks[row.result.task] += 1
            splits[row.result.split] += 1
            answers.setdefault(row.result.task, Counter())[row.result.answer] += 1
    counted = {task: dict(sorted(counts.items())) for task, counts in sorted(answers.items())}
    return Report(
        opened.path,
        opened.format,
        n_rows,
        n_images,
        tuple(bad),
        dict(sorted(tasks.items())),
        dict(sorted(splits.items())),
        counted,
    )


def _problems(row: ReadRow, root: Path) -> tuple[list[str], int]:
    """Give what is wrong with a row, and how many of its images opened."""
    if isinstance(row.result, RecordError):
        return [str(row.result)], 0
    problems = []
    for name in row.result.images:
        try:
            open_picture(name, row.origin.part, root, row.origin.where)
        except (ImageError, RecordError) as error:
            problems.append(str(error))
    return problems, len(row.result.images) - len(problems)
