"""FunKPoint: five functional keypoints of a thing for an action, one row of `labels.csv` each.

Columns p1_x, p1_y to p5_x, p5_y (shares of width and height), image_path, action, object_category and more;
the files lie in `images/<wnid>/`. A picture has a row for every action that it can be used for.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentvr.data.readers.fields import wrong
from latentvr.data.sets.placed import placed

POINTS = 5
LABELS = "labels.csv"
_ALIASES = {
    "image": ("image_path", "img", "image", "img_path", "path"),
    "action": ("action",),
    "category": ("object_category", "category"),
}
_OPTIONAL = ("category",)


@dataclass(frozen=True)
class FunkpointRow:
    """One picture and one action.

    Attributes:
        name: of the picture: its path below the data set's folder; what the table writes if there is no file.
        image: its file, None where there is none.
        action: as the table writes it, such as "Mash/Pound".
        category: of the thing, "" where the table does not say.
        points: five shares (x, y) of width and height; NaN where one is not given.
        where: file and row.
    """

    name: str
    image: Path | None
    action: str
    category: str
    points: tuple[tuple[float, float], ...]
    where: str


def labels_file(root: Path) -> Path:
    """Give the table, which may not be there, in the data set's folder or in `FunKPoint` below it."""
    return (root / "FunKPoint" if (root / "FunKPoint").is_dir() else root) / LABELS


def rows(root: Path) -> list[FunkpointRow]:
    """Read the table in its own order.

    Args:
        root: the data set's folder, or the one that `FunKPoint` lies in.

    Returns:
        All rows.

    Raises:
        RecordError: the table or one of its columns is missing, a coordinate is no number, or a row names
            no picture or action.
    """
    file = labels_file(root)
    try:
        # A table that was saved by a spreadsheet begins with a byte order mark.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = _columns(reader.fieldnames or (), file)
            read = [_row(row, columns, file, number) for number, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else f"{error}"[:120]
        raise wrong("the table of labels", got, file, "name the unpacked folder FunKPoint") from error
    if not read:
        raise wrong("at least one row", "none", file, "copy the table again")
    return read


def _columns(found: Sequence[str], file: Path) -> dict[str, str]:
    """Map what is needed to the table's own names."""
    own = {name.strip().lower(): name for name in found if name}
    columns = {}
    for needed, aliases in _ALIASES.items():
        known = [own[alias] for alias in aliases if alias in own]
        if known:
            columns[needed] = known[0]
        elif needed not in _OPTIONAL:
            raise wrong(
                f"a column {' or '.join(aliases)}", _listed(own), file, "keep the header of the table"
            )
    for name in (f"p{k}_{axis}" for k in range(1, POINTS + 1) for axis in "xy"):
        if name not in own:
            raise wrong(f"a column {name}", _listed(own), file, "keep the header of the table")
        columns[name] = own[name]
    return columns


def _row(row: Mapping[str, str | None], columns: Mapping[str, str], file: Path, number: int) -> FunkpointRow:
    where = f"{file} row {number}"
    values = {needed: (row.get(column) or "").strip() for needed, column in columns.items()}
    for needed in ("image", "action"):
        if not values[needed]:
            raise wrong(f"a value of {columns[needed]}", "none", where, "complete or remove the row")
    name = values["image"].replace("\\", "/")
    image = placed(name, (file.parent, file.parent / "images"))
    return FunkpointRow(
        # One name for one file, however the table writes it: splits are made by it.
        name=name if image is None else image.relative_to(file.parent).as_posix(),
        image=image,
        action=values["action"],
        category=values.get("category", ""),
        points=tuple(
            (_share(values[f"p{k}_x"], where), _share(values[f"p{k}_y"], where)) for k in range(1, POINTS + 1)
        ),
        where=where,
    )


def _share(value: str, where: str) -> float:
    """A coordinate; NaN where it is empty, which is how some programs write NaN."""
    try:
        return float(value) if value else math.nan
    except ValueError as error:
        raise wrong("a number as coordinate", ascii(value)[:40], where, "correct the row") from error


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(sorted(names))[:200] or "no header"
