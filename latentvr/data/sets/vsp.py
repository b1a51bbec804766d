"""VSP in Mirage's form: spatial planning on frozen lakes, `train_direct.jsonl` and `test_direct.jsonl`.

Rows have `text_input`, of training also `text_output`, and `image_input`, such as
"./data/vsp_spatial_planning/imgs_test/level3/img/31.png"; those of the test `map_id` and `map_desc`, rows of
cells with 1 start, 2 goal, -1 hole and 0 ice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import shown, wrong
from latentvr.data.sets.lines import published_lines
from latentvr.data.sets.placed import nowhere, placed

_FOLDERS = ("", "vsp_spatial_planning", "data/vsp_spatial_planning")
_LEVEL = re.compile(r"level_?(\d+)")


@dataclass(frozen=True)
class VspRow:
    """A row.

    Attributes:
        id: unique in its file: level and map, or number of the row.
        level: side of the map; None where neither the path nor the map tells it.
        image: of the map; a path that leads to no file names an image that is missing.
        text_input: the whole text shown to the model, with its `<image>` mark.
        text_output: what the model shall write; "" in the test.
        map_desc: the map, as the file has it; None where the row has none.
        where: file and row, as errors name it.
    """

    id: str
    level: int | None
    image: Path
    text_input: str
    text_output: str
    map_desc: Any
    where: str


def table(root: Path, split: str) -> Path:
    """Find the file of a split.

    Args:
        root: the data set's folder, the repository's, or the file itself.
        split: "train" or "test".

    Returns:
        The file.

    Raises:
        RecordError: there is none.
    """
    if root.is_file():
        return root
    name = f"{split}_direct.jsonl"
    found = _found(root, name)
    if not found:
        raise wrong(name, "none", root, "name the folder that holds it")
    return found[0]


def tables(root: Path) -> list[Path]:
    """Give the files that there are, of any split."""
    return [path for split in ("train", "test") for path in _found(root, f"{split}_direct.jsonl")[:1]]


def rows(root: Path, split: str) -> list[VspRow]:
    """Read the rows of a split.

    Args:
        root: as for `table`.
        split: "train" or "test".

    Returns:
        The rows, in the order of the file.

    Raises:
        RecordError: there is no file, or a row has another form.
    """
    file = table(root, split)
    folders = [file.parent] if root.is_file() or root == file.parent else [file.parent, root]
    made: list[VspRow] = []
    seen: set[str] = set()
    for number, value in published_lines(file, file.name):
        row = _row(value, f"{file.name} row {number}", f"{split}/{number:06d}", folders)
        if row.id in seen:
            got = f"{shown(row.id)} again"
            raise wrong("each map once", got, row.where, "download the file again")
        seen.add(row.id)
        made.append(row)
    return made


def _found(root: Path, name: str) -> list[Path]:
    return [root / folder / name for folder in _FOLDERS if (root / folder / name).is_file()]


def _row(value: object, where: str, numbered: str, folders: list[Path]) -> VspRow:
    if not isinstance(value, dict):
        raise wrong("a JSON object", type(value).__name__, where, "download the file again")
    name, text = _image_name(value), value.get("text_input")
    if not isinstance(name, str) or not isinstance(text, str):
        expected = "the texts text_input and image_input"
        raise wrong(expected, shown(sorted(value)), where, "name a file of Mirage's form")
    level, map_id = _level(value, name), value.get("map_id")
    output = value.get("text_output")
    return VspRow(
        id=numbered if map_id is None or level is None else f"level{level}/{map_id}",
        level=level,
        image=placed(name, folders) or nowhere(name, folders[0]),
        text_input=text,
        text_output=output if isinstance(output, str) else "",
        map_desc=value.get("map_desc"),
        where=where,
    )


def _image_name(value: Mapping[str, Any]) -> object:
    given = value.get("image_input")
    return given[0] if isinstance(given, list) and len(given) == 1 else given


def _level(value: Mapping[str, Any], name: str) -> int | None:
    named, grid = _LEVEL.findall(name), value.get("map_desc")
    if named:
        return int(named[-1])
    return len(grid) if isinstance(grid, list) and grid else None
