"""Take typed values out of rows that somebody else wrote."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latentvr.data.record import Box
from latentvr.errors import RecordError

MARK = "<image>"


@dataclass(frozen=True)
class Place:
    """Where a row is, and what holds for rows that do not say it themselves.

    Attributes:
        file: name of the file or folder.
        row: number of the row; lines and list items count from 1.
        split: split of the rows, if known.
        task: task of the rows.
        group: name of the data set that they belong to, if known; their ids are unique in it.
    """

    file: str
    row: int
    split: str | None
    task: str
    group: str | None = None

    def __str__(self) -> str:
        """Give "records.jsonl row 12"."""
        return f"{self.file} row {self.row}"


def wrong(expected: str, got: str, where: object, fix: str) -> RecordError:
    """Make the one-sentence error of a bad row."""
    return RecordError(f"expected {expected}, got {got}, at {where}; fix: {fix}")


def shown(value: object) -> str:
    """Quote a value briefly, without control characters."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def text(row: Mapping[str, Any], key: str, place: Place, default: str | None = None) -> str:
    """Take a non-empty string.

    Args:
        row: the row.
        key: name of the field.
        place: where the row is.
        default: value of a missing field; None refuses one.

    Returns:
        The string.

    Raises:
        RecordError: it is missing without a default, no string, or blank.
    """
    value = row.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value.strip():
        got = "none" if value is None else shown(value)
        raise wrong(f'a non-empty string "{key}"', got, place, f'write "{key}" in the row')
    if not _is_unicode(value):
        raise wrong(f'Unicode text as "{key}"', shown(value), place, "remove the half character")
    return value


def texts(row: Mapping[str, Any], key: str, place: Place) -> tuple[str, ...]:
    """Take a list of strings; a missing list is empty.

    Args:
        row: the row.
        key: name of the field.
        place: where the row is.

    Returns:
        The strings.

    Raises:
        RecordError: it is something else.
    """
    value = row.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        isinstance(item, str) and item and _is_unicode(item) for item in value
    ):
        raise wrong(f'a list of strings "{key}"', shown(value), place, f'make "{key}" a list of strings')
    return tuple(value)


def image_names(row: Mapping[str, Any], place: Place) -> tuple[str, ...]:
    """Take the images of a foreign row: "images", or "image" as a string or a list.

    Args:
        row: the row.
        place: where the row is.

    Returns:
        Paths or keys of the images.

    Raises:
        RecordError: both keys are used, or the value is neither a string nor a list of strings.
    """
    given = [key for key in ("images", "image") if row.get(key) is not None]
    if len(given) > 1:
        raise wrong('"image" or "images"', "both", place, "keep one of them")
    if not given:
        return ()
    value = row[given[0]]
    if isinstance(value, str) and value:
        return (value,)
    return texts(row, given[0], place)


def boxes(row: Mapping[str, Any], place: Place) -> tuple[Box, ...]:
    """Take "bboxes": a list of {"image": k, "box": [x0, y0, x1, y1]}, or of plain boxes of image 0.

    Args:
        row: the row.
        place: where the row is.

    Returns:
        The boxes, normalised.

    Raises:
        RecordError: a box has another form, leaves [0, 1], or is empty.
    """
    value = row.get("bboxes")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise wrong('a list "bboxes"', shown(value), place, 'make "bboxes" a list of boxes')
    return tuple(_box(item, place) for item in value)


def _box(item: object, place: Place) -> Box:
    image: object = 0
    corners = item
    if isinstance(item, dict):
        if set(item) != {"image", "box"}:
            raise wrong(
                'a box with the keys "image" and "box"', shown(sorted(item)), place, "write these two keys"
            )
        image, corners = item["image"], item["box"]
    if not isinstance(image, int) or isinstance(image, bool):
        raise wrong("an image number in a box", shown(image), place, "count images from 0")
    if not isinstance(corners, list) or len(corners) != 4 or not all(_is_finite(value) for value in corners):
        raise wrong("a box of four numbers", shown(corners), place, "write [x0, y0, x1, y1]")
    x0, y0, x1, y1 = (float(value) for value in corners)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        fix = "divide pixels by width and height, and order the corners"
        raise wrong("a box with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1", shown(corners), place, fix)
    return Box(image, (x0, y0, x1, y1))


def _is_unicode(value: str) -> bool:
    """Half of a surrogate pair passes JSON, and fails later in tokenizers and files."""
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
