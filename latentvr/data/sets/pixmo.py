"""PixMo-Count (hub `allenai/pixmo-count`, ODC-BY): how many objects of a kind an image shows.

On disk: `data/{train,validation,test}-00000-of-00001.parquet` with the columns image_url, image_sha256, count
and label, and beside them the images that the user has downloaded, as `images/<sha256>.<any ending>`. Links
die: an image that is not there is a fact about the row, not an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import shown, wrong
from latentvr.data.sets.lazy_table import LazyTable

SPLITS = ("train", "validation", "test")
_COLUMNS = ("image_url", "image_sha256", "count", "label")
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class PixmoRow:
    """One image with a count.

    Attributes:
        label: what is counted, such as "people"; "" where the row has none.
        count: how many there are.
        sha256: of the image's file, in lower case; "" where the row has none.
        url: where the image was; "" where the row has none.
        image: the file of that name, not yet compared with the hash; None if there is none.
        where: file and row, as errors name it.
    """

    label: str
    count: int
    sha256: str
    url: str
    image: Path | None
    where: str


def tables(root: Path, split: str) -> list[Path]:
    """Find the parquet files of a split.

    Args:
        root: the data set's folder, with or without a folder `data` in it.
        split: "train", "validation" or "test".

    Returns:
        The files by name.

    Raises:
        RecordError: there is none.
    """
    for folder in (root / "data", root):
        files = sorted(folder.glob(f"{split}-*.parquet"))
        if files:
            return files
    name = f"data/{split}-00000-of-00001.parquet"
    raise wrong(name, "no such file", root, "name the folder of PixMo-Count")


def rows(root: Path, split: str) -> list[PixmoRow]:
    """Read the rows of a split, in the order of the file.

    Args:
        root: the data set's folder.
        split: "train", "validation" or "test".

    Returns:
        Every row, those without an image included.

    Raises:
        RecordError: no file or no folder of images, a column is missing, or a row has no count.
    """
    images = _images(root)
    return [
        _row(row, images, table.where(index))
        for path in tables(root, split)
        for table in (_table(path),)
        for index, row in table.rows(_COLUMNS)
    ]


def _table(path: Path) -> LazyTable:
    table = LazyTable(path, path.name)
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise wrong(f"columns {', '.join(missing)}", "others", path.name, "keep to the files of PixMo-Count")
    return table


def _row(row: dict[str, Any], images: dict[str, Path], where: str) -> PixmoRow:
    count = row["count"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise wrong("a whole number of 0 or more as count", shown(count), where, "download the file again")
    label, sha256, url = (_text(row[name], name, where) for name in ("label", "image_sha256", "image_url"))
    return PixmoRow(label, count, sha256.lower(), url, images.get(sha256.lower()), where)


def _text(value: object, name: str, where: str) -> str:
    if value is not None and not isinstance(value, str):
        raise wrong(f"a text as {name}", shown(value), where, "download the file again")
    return (value or "").strip()


def _images(root: Path) -> dict[str, Path]:
    """Files by the hash that they are named after; a picture's ending goes before any other one."""
    folder = root / "images"
    if not folder.is_dir():
        raise wrong("a folder of images named <sha256>.jpg", "none", folder, "download the images into it")
    if not folder.resolve().is_relative_to(root.resolve()):
        fix = "move the images into the data set's folder"
        raise wrong("a folder of images below the data set's", "a link out of it", folder, fix)
    found = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    found.sort(key=lambda path: (path.suffix.lower() in _ENDINGS, path.name), reverse=True)
    return {path.stem.lower(): path for path in reversed(found)}
