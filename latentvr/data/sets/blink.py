"""BLINK (hub `BLINK-Benchmark/BLINK`, Apache-2.0): multiple-choice questions on one to four images.

On disk: one parquet file for each sub-task and split, `<Sub_Task>/val-00000-of-00001.parquet`, or any
parquet file with the same columns: idx, sub_task, question, image_1 to image_4 (null where there is none),
choices, answer "(A)", prompt, explanation. The answers of the test split are not published.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.prompt import letters
from latentvr.data.readers.fields import Place, shown, text, texts, wrong
from latentvr.data.readers.validation import MAX_CHOICES
from latentvr.data.sets.lazy_table import LazyTable
from latentvr.data.sets.stored import Stored

_TEXTS = ("idx", "sub_task", "question", "choices", "answer", "prompt")
_PICTURE = re.compile(r"image_(\d+)")
_SPLIT = re.compile(r"(val|test)[-_.]")


@dataclass(frozen=True)
class BlinkRow:
    """One question.

    Attributes:
        idx: "val_Art_Style_1".
        sub_task: "Art_Style".
        split: "val" or "test".
        question: without the options.
        pictures: image_1, image_2 and so on, without those that are null.
        choices: texts of the options.
        answer: letter of the right option; "" where it is not published.
        prompt: question and options in the benchmark's own wording.
        where: file and row.
    """

    idx: str
    sub_task: str
    split: str
    question: str
    pictures: tuple[Stored, ...]
    choices: tuple[str, ...]
    answer: str
    prompt: str
    where: str

    @property
    def images(self) -> tuple[bytes, ...]:
        """Files of the pictures, read from disk anew at each use."""
        return tuple(picture.read() for picture in self.pictures)


def rows(path: Path, sub_task: str | None = None, splits: Sequence[str] = ("val",)) -> Iterator[BlinkRow]:
    """Read the questions; their pictures stay on disk until they are asked for.

    Args:
        path: folder of the data set or of a sub-task, or one parquet file.
        sub_task: give this one's rows only; None gives all.
        splits: "val", "test" or both.

    Yields:
        BlinkRow: rows in the order of the files' names and of their rows.

    Raises:
        RecordError: no parquet file, a column or value that is not BLINK's, or no row was found.
    """
    seen: set[tuple[str, str]] = set()
    found = False
    for table in _tables(path):
        for index, row in table.rows(_TEXTS):
            place = Place(table.name, index + 1, None, "")
            split = _split(table, row, place)
            task = text(row, "sub_task", place)
            seen.add((task, split))
            if split in splits and sub_task in (None, task):
                found = True
                yield _row(table, index, row, place, split)
    if not found:
        expected = f"rows of {sub_task or 'any sub-task'} in {' and '.join(splits)}"
        got = ", ".join(f"{task} ({split})" for task, split in sorted(seen)[:20]) or "no row"
        raise wrong(expected, got, path, "name a folder of BLINK that holds them" + _hidden(seen, splits))


def _tables(path: Path) -> Iterator[_Listed]:
    if not path.exists():
        raise wrong("a folder or parquet file of BLINK", "none", path, "check the path")
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        expected = "parquet files such as Jigsaw/val-00000-of-00001.parquet"
        raise wrong(expected, "none", path, "name the folder of BLINK, or one of its files")
    for file in files:
        table = _Listed(file, file.name if file == path else file.relative_to(path).as_posix())
        missing = [name for name in (*_TEXTS, "image_1") if name not in table.columns]
        if missing:
            raise wrong(f"columns {', '.join(missing)}", "others", table.name, "keep to the files of BLINK")
        yield table


class _Listed(LazyTable):
    """A table that finds out once which pictures are there."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        numbers = sorted(int(found[1]) for column in self.columns if (found := _PICTURE.fullmatch(column)))
        self._pictures = tuple(f"image_{number}" for number in numbers)
        self._there: dict[str, list[bool]] = {}

    def pictures(self, index: int) -> tuple[Stored, ...]:
        """The pictures of a row in order."""
        if not self._there:
            self._there = {column: self.filled(column) for column in self._pictures}
        return tuple(Stored(self, index, column) for column in self._pictures if self._there[column][index])


def _row(table: _Listed, index: int, row: dict[str, Any], place: Place, split: str) -> BlinkRow:
    pictures = table.pictures(index)
    if not pictures:
        raise wrong("at least one image", "none", place, "download the file again")
    choices = texts(row, "choices", place)
    if len(choices) > MAX_CHOICES:
        got = f"{len(choices)}"
        raise wrong(f"at most {MAX_CHOICES} choices", got, place, "download the file again")
    return BlinkRow(
        idx=text(row, "idx", place),
        sub_task=text(row, "sub_task", place),
        split=split,
        question=text(row, "question", place),
        pictures=pictures,
        choices=choices,
        answer=_answer(text(row, "answer", place), choices, split, place),
        prompt=text(row, "prompt", place),
        where=str(place),
    )


def _answer(written: str, choices: Sequence[str], split: str, place: Place) -> str:
    letter = written.strip().strip("()")
    if letter in letters(len(choices)):
        return letter
    if split == "test":
        return ""
    fix = "evaluate on val, whose answers are published"
    raise wrong(f"an answer such as (A) out of {len(choices)} options", shown(written), place, fix)


def _hidden(seen: Collection[tuple[str, str]], splits: Sequence[str]) -> str:
    hidden = "test" not in splits and any(split == "test" for _, split in seen)
    return ", for the answers of test are not published" if hidden else ""


def _split(table: LazyTable, row: dict[str, Any], place: Place) -> str:
    """The file's name tells the split, or else the row's "idx"."""
    found = _SPLIT.match(Path(table.name).name) or _SPLIT.match(text(row, "idx", place))
    if found is None:
        raise wrong('an "idx" that begins with val_ or test_', shown(row["idx"]), place, "keep BLINK's idx")
    return found[1]
