"""COCO 2017: `train2017/`, `val2017/` and `annotations/instances_{train,val}2017.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.images import relative_name
from latentvr.data.readers.fields import wrong
from latentvr.errors import RecordError

SOURCE = "COCO 2017, https://cocodataset.org"
LICENCE = "annotations CC BY 4.0; images under Flickr's terms, not to be passed on"
FOLDERS = {"train": "train2017", "validation": "val2017"}


@dataclass(frozen=True)
class CocoObject:
    """An annotated object.

    Attributes:
        id: of the annotation.
        image_id: of the picture.
        file: path of the picture below the data set's folder, such as "val2017/000000000139.jpg".
        size: width and height of the picture in pixels, as the table says.
        category: name, such as "dog".
        box: corners (x0, y0, x1, y1) in stored pixels, as annotated; not necessarily a proper box.
        area: of the mask, in pixels.
        crowd: whether it stands for a group.
    """

    id: int
    image_id: int
    file: str
    size: tuple[int, int]
    category: str
    box: tuple[float, float, float, float]
    area: float
    crowd: bool


def folder(root: Path, split: str) -> Path:
    """Give the folder of a split's pictures.

    Args:
        root: the data set's folder.
        split: "train" or "validation".

    Returns:
        `train2017` or `val2017` below the root.

    Raises:
        RecordError: there is no such folder.
    """
    path = root / FOLDERS[split]
    if not path.is_dir():
        fix = f"name the folder that holds {', '.join(FOLDERS.values())} and annotations"
        raise wrong(f"the folder {FOLDERS[split]} of COCO 2017", "no such folder", str(root), fix)
    return path


def pictures(root: Path, split: str) -> list[str]:
    """Name the pictures of a split that are on the disk, in order, without their folder.

    Files that the data set does not have, such as thumbnails, are none of them: a picture is called
    `*.jpg`, and not `._*.jpg` as a copy from another system leaves it.

    Args:
        root: the data set's folder.
        split: "train" or "validation".

    Returns:
        Names of the files, sorted.

    Raises:
        RecordError: the folder is missing, or holds no picture.
    """
    inside = folder(root, split)
    names = sorted(p.name for p in inside.iterdir() if p.suffix == ".jpg" and not p.name.startswith("."))
    if not names:
        raise wrong("pictures *.jpg", "none", str(inside), "unpack COCO's pictures into the folder")
    return names


def table_path(root: Path, split: str) -> Path:
    """Give the place of a split's annotations, whether there is a file or not."""
    return root / "annotations" / f"instances_{FOLDERS[split]}.json"


def objects(root: Path, split: str) -> tuple[list[CocoObject], int]:
    """Read a split's annotations; opens no picture.

    Args:
        root: the data set's folder.
        split: "train" or "validation".

    Returns:
        The objects in the order of their ids, and the number of annotations left out because the
        table lists no picture of theirs.

    Raises:
        RecordError: the table is missing, no JSON, lacks a list or a key, or names a file outside of
            the folder.
    """
    path = table_path(root, split)
    if not path.is_file():
        fix = "unpack annotations_trainval2017.zip in the data set's folder"
        raise wrong("COCO's annotations", "no such file", str(path), fix)
    content = _parsed(path)
    images = {image["id"]: image for image in _rows(content, "images", _IMAGE, path)}
    names = {row["id"]: row["name"] for row in _rows(content, "categories", _CATEGORY, path)}
    found: list[CocoObject] = []
    unknown = 0
    for row in _rows(content, "annotations", _ANNOTATION, path):
        image = images.get(row["image_id"])
        if image is None:
            unknown += 1
            continue
        if row["category_id"] not in names:
            got = f"category {row['category_id']}"
            raise _wrong("a category that the table lists", got, path, f"annotation {row['id']}")
        found.append(_object(row, image, names[row["category_id"]], FOLDERS[split], path))
    return sorted(found, key=lambda one: one.id), unknown


_IMAGE = {"id": int, "file_name": str, "width": int, "height": int}
_CATEGORY = {"id": int, "name": str}
_ANNOTATION = {
    "id": int,
    "image_id": int,
    "category_id": int,
    "bbox": list,
    "area": (int, float),
    "iscrowd": int,
}


def _object(
    row: Mapping[str, Any], image: Mapping[str, Any], category: str, inside: str, path: Path
) -> CocoObject:
    box = row["bbox"]
    if len(box) != 4 or not all(type(number) in (int, float) for number in box):
        raise _wrong("bbox as four numbers", ascii(box)[:80], path, f"annotation {row['id']}")
    x, y, width, height = (float(number) for number in box)
    name = relative_name(image["file_name"], f"{path}, image {image['id']}")
    return CocoObject(
        id=row["id"],
        image_id=image["id"],
        file=f"{inside}/{name}",
        size=(image["width"], image["height"]),
        category=category,
        box=(x, y, x + width, y + height),
        area=float(row["area"]) if math.isfinite(row["area"]) else 0.0,
        crowd=bool(row["iscrowd"]),
    )


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        with path.open(encoding="utf-8") as stream:
            content = json.load(stream, object_pairs_hook=_without_outline)
    except (ValueError, RecursionError) as error:
        problem = " ".join(ascii(str(error))[1:-1].split())[:200]
        raise wrong("JSON", problem, str(path), "unpack the file again") from error
    if not isinstance(content, dict):
        raise wrong("a JSON object", type(content).__name__, str(path), "unpack the file again")
    return content


def _without_outline(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Drop the outlines as they are read: they are nearly all of the 450 MB of the training table."""
    return {key: value for key, value in pairs if key != "segmentation"}


def _rows(
    content: Mapping[str, Any], key: str, types: Mapping[str, Any], path: Path
) -> Sequence[Mapping[str, Any]]:
    rows = content.get(key)
    if not isinstance(rows, list):
        raise _wrong(f"a list {key!r}", "none", path, "the table")
    for number, row in enumerate(rows, start=1):
        for name, kind in types.items():
            if not isinstance(row, dict) or not isinstance(row.get(name), kind):
                got = "another value" if isinstance(row, dict) and name in row else "none"
                raise _wrong(f"a proper {name!r}", got, path, f"item {number} of {key!r}")
    return rows


def _wrong(expected: str, got: str, path: Path, place: str) -> RecordError:
    return wrong(expected, got, f"{path}, {place}", "unpack COCO's annotations again")
