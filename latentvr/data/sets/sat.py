"""SAT: parquet files of array/SAT and array/SAT-v2, JSON lines of SAT-32k (gsarch/vigorl_datasets).

Parquet rows hold image bytes (`image_bytes`, in the second version `images`), `question`, `answers`,
`question_type` and `correct_answer`. Lines are of two kinds: `image_paths` or `images`, `problem`, `answer`;
and `image`, `conversations`. In all of them the answer is the text of an option.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import MARK, shown, wrong
from latentvr.data.sets.lazy_table import LazyTable
from latentvr.data.sets.lines import published_lines
from latentvr.data.sets.placed import nowhere, placed

#: Names of the files of each split, in the order of the forms "parquet" and "jsonl".
FILES = {
    "train": ("SAT_train.parquet", "vigorl_sat2_train_RL.jsonl"),
    "static": ("SAT_static.parquet", ""),
    "validation": ("SAT_val.parquet", "vigorl_sat2_val_RL.jsonl"),
    "test": ("SAT_test.parquet", "sat2_test/sat2_test.jsonl"),
}
FORMS = ("parquet", "jsonl")
_FOLDERS = ("", "data", "spatial_reasoning")
_TEXTS = ("question", "answers", "question_type", "correct_answer")
_IMAGES = ("image_bytes", "images")
_HEADING = re.compile(r"(?:answer\s+)?(?:choices|options)\s*:", re.IGNORECASE)
_OPTION = re.compile(r"\s*\(?([A-Z])[.)]\s+(\S.*)")
_REQUEST = re.compile(r"\s*Answer with the (?:text|letter)[^\n]*", re.IGNORECASE)
_LETTERED = re.compile(r"\(?([A-Z])[.):]\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class SatRow:
    """A row.

    Attributes:
        id: unique in its file.
        images: bytes, or paths; a path that leads to no file names an image that is missing.
        question: without choices and image marks.
        choices: texts of the options; empty where they cannot be told.
        answer: the right option's text, as in `choices` where it is one of them.
        kind: type of question; "" where the row names none.
        where: file and row, as errors name it.
        problem: of JSON lines: the whole text shown to a model, image marks included.
        number: of the row, from 1.
        listed: False where the row's options are no list of texts.
    """

    id: str
    images: tuple[bytes | Path, ...]
    question: str
    choices: tuple[str, ...]
    answer: str
    kind: str
    where: str
    problem: str = ""
    number: int = 0
    listed: bool = True


def find(root: Path, split: str, form: str = "") -> Path:
    """Find the file of a split.

    Args:
        root: the data set's folder, or the file itself.
        split: a key of `FILES`.
        form: of `FORMS`; "" takes the one that there is.

    Returns:
        The file.

    Raises:
        RecordError: there is no such file, or one of each form.
    """
    if root.is_file():
        return root
    names = [name for kind, name in zip(FORMS, FILES[split], strict=True) if name and form in ("", kind)]
    found = [
        root / folder / name for name in names for folder in _FOLDERS if (root / folder / name).is_file()
    ]
    if len(found) == 1:
        return found[0]
    if found:
        got = " and ".join(str(path.relative_to(root)) for path in found)
        raise wrong(f"one file of SAT's split {split}", got, root, "name the form, parquet or jsonl")
    expected = f"{' or '.join(names) or 'a file'} for SAT's split {split}"
    raise wrong(expected, "none", root, "copy the file into this folder, or name another folder")


def rows(file: Path, root: Path | None = None, *, pictures: bool = True) -> Iterator[SatRow]:
    """Read a file row by row; no image is decoded.

    Args:
        file: parquet, or JSON lines.
        root: folder that the image names of JSON lines may begin at; besides the file's own folder.
        pictures: whether to read the image bytes of parquet; they take gigabytes.

    Yields:
        SatRow: each row.

    Raises:
        RecordError: the file or a row has another form.
    """
    if file.suffix == ".parquet":
        yield from _parquet_rows(file, pictures)
        return
    folders = [file.parent] if root is None else [file.parent, root]
    for number, value in published_lines(file, file.name):
        yield _json_row(value, f"{file.name} row {number}", file.stem, number, folders)


def picture_bytes(file: Path, number: int) -> tuple[bytes, ...]:
    """Read the images of one row of a parquet file.

    Args:
        file: parquet.
        number: of the row, from 1.

    Returns:
        The image files' bytes, in order.

    Raises:
        RecordError: the file has another form, or no such row.
    """
    table = LazyTable(file, file.name)
    if not 1 <= number <= sum(table.groups):
        raise wrong(f"row {number}", "a shorter file", file.name, "build again from the beginning")
    return _bytes(table.cell(number - 1, image_column(table)), f"{file.name} row {number}")


def pictures(file: Path) -> Iterator[tuple[bytes, ...]]:
    """Read the images of all rows of a parquet file in one pass.

    Args:
        file: parquet.

    Yields:
        tuple[bytes, ...]: the image files' bytes of each row.

    Raises:
        RecordError: the file has another form.
    """
    table = LazyTable(file, file.name)
    for index, value in enumerate(table.values(image_column(table))):
        yield _bytes(value, table.where(index))


def largest_group(file: Path) -> int:
    """Give the bytes of the images in the row group that holds most; 0 for JSON lines."""
    if file.suffix != ".parquet":
        return 0
    table = LazyTable(file, file.name)
    return table.largest(image_column(table))


def image_column(table: LazyTable) -> str:
    """Name the column of images of a parquet file.

    Args:
        table: the file.

    Returns:
        Its name.

    Raises:
        RecordError: this column or another one is missing.
    """
    names = table.columns
    found = [name for name in _IMAGES if name in names]
    missing = [name for name in _TEXTS if name not in names]
    if missing or not found:
        expected = f"the columns {', '.join(_TEXTS)} and {' or '.join(_IMAGES)}"
        raise wrong(expected, ", ".join(names)[:200], table.name, "name a file of array/SAT or array/SAT-v2")
    return found[0]


def _parquet_rows(file: Path, pictures: bool) -> Iterator[SatRow]:
    table = LazyTable(file, file.name)
    column = image_column(table)
    found = table.rows([*_TEXTS, column], 16) if pictures else table.rows(_TEXTS)
    for number, (index, row) in enumerate(found, start=1):
        where = table.where(index)
        choices = _listed(row["answers"])
        yield SatRow(
            id=f"{file.stem}/{number:06d}",
            images=_bytes(row[column], where) if pictures else (),
            question=_without_marks(str(row["question"] or "")),
            choices=choices or (),
            answer=_option_text(str(row["correct_answer"] or ""), choices or ()),
            kind=str(row["question_type"] or ""),
            where=where,
            number=number,
            listed=choices is not None,
        )


def _listed(value: object) -> tuple[str, ...] | None:
    """Options of a row of parquet; None where they are something else than a list of texts or numbers."""
    if value is None:
        return ()
    plain = isinstance(value, list) and all(
        isinstance(item, str | int | float) and not isinstance(item, bool) for item in value
    )
    return tuple(str(item).strip() for item in value) if plain and isinstance(value, list) else None


def _bytes(value: object, where: str) -> tuple[bytes, ...]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    found = [item.get("bytes") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(item, bytes) for item in found):
        raise wrong("image bytes", shown(found)[:60], where, "download the file again")
    return tuple(item for item in found if isinstance(item, bytes))


def _json_row(value: object, where: str, stem: str, number: int, folders: list[Path]) -> SatRow:
    if not isinstance(value, dict):
        raise wrong("a JSON object", type(value).__name__, where, "download the file again")
    problem, answer = _turns(value, where)
    question, choices = _parted(problem)
    identity = value.get("id")
    named = identity if isinstance(identity, str) and identity else f"{stem}/{number:06d}"
    return SatRow(
        id=str(identity) if isinstance(identity, int) and not isinstance(identity, bool) else named,
        images=tuple(placed(name, folders) or nowhere(name, folders[0]) for name in _names(value, where)),
        question=question,
        choices=choices,
        answer=_option_text(answer, choices),
        kind=str(value.get("question_type") or value.get("source") or ""),
        where=where,
        problem=problem,
        number=number,
    )


def _turns(value: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The text shown and the answer, from either kind of line."""
    turns = value.get("conversations")
    found = [value.get("problem"), value.get("answer")]
    if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns):
        found = [
            next((turn.get("value") for turn in turns if turn.get("from") == speaker), None)
            for speaker in ("human", "gpt")
        ]
    if isinstance(found[0], str) and isinstance(found[1], str):
        return found[0], found[1]
    keys = "problem and answer, or conversations of human and gpt"
    raise wrong(keys, shown(sorted(value)), where, "name a file of SAT-32k")


def _names(value: Mapping[str, Any], where: str) -> list[str]:
    keys = ("image_paths", "images", "image")
    given: object = next((value[key] for key in keys if value.get(key) is not None), [])
    names = [given] if isinstance(given, str) else given
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    raise wrong("image paths", shown(given), where, "download the file again")


def _parted(problem: str) -> tuple[str, tuple[str, ...]]:
    """Question and choices of a text such as "Question: … Answer Choices:", then "A. …" line by line."""
    headings = list(_HEADING.finditer(problem))
    if not headings:
        return _without_marks(problem), ()
    lines = _REQUEST.sub("", problem[headings[-1].end() :]).strip().splitlines()
    options = [_OPTION.fullmatch(line) for line in lines if line.strip()]
    texts = tuple(option[2].strip() for option in options if option)
    lettered = "".join(option[1] for option in options if option)
    known = len(texts) == len(options) and "ABCDEFGHIJKLMNOPQRSTUVWXYZ".startswith(lettered)
    question = _without_marks(problem[: headings[-1].start()])
    return question.removeprefix("Question:").strip(), texts if known else ()


def _without_marks(text: str) -> str:
    return text.replace(MARK, "").strip()


def _option_text(answer: str, choices: tuple[str, ...]) -> str:
    """The option that is meant: by its text, by its text behind its letter, or by its letter alone."""
    by_text = {choice.casefold(): choice for choice in reversed(choices)}
    answer = answer.strip()
    if answer.casefold() in by_text:
        return by_text[answer.casefold()]
    lettered = _LETTERED.fullmatch(answer if len(answer) > 1 else f"{answer}.")
    if not lettered:
        return answer
    letter, text = ord(lettered[1]) - ord("A"), lettered[2].strip()
    if not text and letter < len(choices):
        return choices[letter]
    return by_text.get(text.casefold(), answer)
