"""NIGHTS (DreamSim, MIT): which of two distorted images people find closer to a reference image.

On disk: `data.csv` and the images that it names, such as `ref/000/<id>.png` and `distort/000/<id>_0.png`.
Columns are read by name. A table without the names is read in the order of the official one: id, left_vote,
right_vote, votes, ref_path, left_path, right_path, split, is_imagenet.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentvr.data.readers.fields import shown, wrong

_COLUMNS = ("id", "left_vote", "right_vote", "votes", "ref_path", "left_path", "right_path", "split")
_PATHS = ("ref_path", "left_path", "right_path")


@dataclass(frozen=True)
class NightsRow:
    """One triplet.

    Attributes:
        id: of the row.
        split: "train", "val" or "test", as the table writes it.
        votes: how many people agreed.
        left_vote: 1 where they found the left image closer to the reference, 0 otherwise.
        right_vote: 1 where they found the right image closer to the reference, 0 otherwise.
        reference: image that the two others are compared with.
        left: image, not opened.
        right: image, not opened.
        where: file and row, as errors name it.
    """

    id: str
    split: str
    votes: int
    left_vote: int
    right_vote: int
    reference: Path
    left: Path
    right: Path
    where: str


def table(root: Path) -> Path:
    """Find `data.csv`.

    Args:
        root: the folder `nights`, or the one that holds it.

    Returns:
        The file.

    Raises:
        RecordError: there is none.
    """
    for file in (root / "data.csv", root / "nights" / "data.csv"):
        if file.is_file():
            return file
    raise wrong("data.csv", "no such file", root, "name the folder that nights.zip was unpacked into")


def rows(root: Path) -> list[NightsRow]:
    """Read every row, in the order of the file.

    Args:
        root: the folder `nights`, or the one that holds it.

    Returns:
        The rows of all splits.

    Raises:
        RecordError: no file, or columns or values that are not those of NIGHTS.
    """
    file = table(root)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = [
                (number, cells) for number, cells in enumerate(csv.reader(stream, strict=True), 1) if cells
            ]
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise wrong("a table in CSV", str(error), file, "unpack nights.zip again") from error
    if not lines:
        raise wrong("rows", "an empty file", file, "unpack nights.zip again")
    places = _places(lines[0][1], file)
    body = lines if _is_data(lines[0][1]) else lines[1:]
    return [_row(cells, places, file, number) for number, cells in body]


def _is_data(cells: Sequence[str]) -> bool:
    """Whether the first line is a row already: its votes are a number."""
    return len(cells) > 3 and _number(cells[3]) is not None


def _places(header: Sequence[str], file: Path) -> dict[str, int]:
    """Where each column is: by name, or in the official order where the names are others."""
    found = {name.strip().lower(): place for place, name in enumerate(header)}
    if all(name in found for name in _COLUMNS):
        return {name: found[name] for name in _COLUMNS}
    official = {name: place for place, name in enumerate(_COLUMNS)}
    moved = [name for name in _COLUMNS if name in found and found[name] != official[name]]
    if moved or len(header) < len(_COLUMNS):
        missing = ", ".join(name for name in _COLUMNS if name not in found)
        raise wrong(f"columns {missing}", f"{len(header)} others", file, "keep the header of NIGHTS")
    return official


def _row(cells: Sequence[str], places: Mapping[str, int], file: Path, number: int) -> NightsRow:
    where = f"{file.name} row {number}"
    if len(cells) <= max(places.values()):
        raise wrong(f"{max(places.values()) + 1} cells", str(len(cells)), where, "unpack nights.zip again")
    row = {name: cells[place].strip() for name, place in places.items()}
    votes, left, right = (_whole(row[name], name, where) for name in ("votes", "left_vote", "right_vote"))
    empty = [name for name in ("id", "split", *_PATHS) if not row[name]]
    if empty:
        raise wrong(f"a text as {empty[0]}", "an empty cell", where, "unpack nights.zip again")
    reference, first, second = (file.parent / row[name] for name in _PATHS)
    return NightsRow(row["id"], row["split"], votes, left, right, reference, first, second, where)


def _whole(cell: str, name: str, where: str) -> int:
    number = _number(cell)
    if number is None:
        raise wrong(f"a whole number as {name}", shown(cell), where, "keep the columns of NIGHTS")
    return number


def _number(cell: str) -> int | None:
    """A whole number; some programs write 1 as 1.0."""
    digits = cell.strip().removesuffix(".0")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
