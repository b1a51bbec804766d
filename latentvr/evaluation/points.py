"""Points that a model names, and the region that they have to lie in (RoboSpatial-Home, split context)."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from latentvr.data.record import Record
from latentvr.errors import RecordError

Point = tuple[float, float]

# Possessive, so that a long row of digits or blanks is read once.
_UNSIGNED = r"(\d++(?:\.\d*+)?)"
_SIGNED = r"([+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?)"
_ROUND = re.compile(rf"\(\s*+{_UNSIGNED}\s*+,\s*+{_UNSIGNED}\s*+\)")
_SQUARE = re.compile(rf"\[\s*+{_UNSIGNED}\s*+,\s*+{_UNSIGNED}\s*+\]")
_IN_LIST = re.compile(rf"\[\s*+[(\[]?\s*+{_SIGNED}\s*+,\s*+{_SIGNED}\s*+[)\]]")
_CORNER = rf"[(\[]\s*+{_SIGNED}\s*+,\s*+{_SIGNED}\s*+[)\]]"
_CORNERS = re.compile(_CORNER)
_OUTLINE = re.compile(rf"\s*+\[(?:\s*+{_CORNER}\s*+,?)++\s*+\]\s*+")
_FENCE = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
#: Full scale of the coordinates in JSON (lmms-eval).
_SCALE = 1000


def first_point(text: str) -> Point | None:
    """Take the first point of a text (official RoboSpatial).

    The first "(x, y)" anywhere, else the first "[x, y]", both without signs; else the point, with
    signs, that a list starts with. Numbers count as they are: a model that writes per mille is outside.
    """
    found = _ROUND.search(text) or _SQUARE.search(text) or _IN_LIST.search(text)
    return (float(found[1]), float(found[2])) if found else None


def json_points(text: str) -> list[Point]:
    """Take the points of the first fenced block of JSON (lmms-eval, RoboSpatial).

    The block is a list of objects with `"point_2d": [x, y]`, in per mille of width and height; other objects
    are passed over, and a block that is no such list holds no point.

    Args:
        text: what a model wrote.

    Returns:
        Points as shares of width and height.
    """
    block = _FENCE.search(text)
    try:
        items = json.loads(block[1]) if block else []
    except (ValueError, RecursionError):
        return []
    objects = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    pairs: list[Any] = [item.get("point_2d") for item in objects]
    return [(pair[0] / _SCALE, pair[1] / _SCALE) for pair in pairs if _is_pair(pair)]


def in_region(point: Point, record: Record) -> bool:
    """Whether a point lies inside the outline that is the record's answer.

    Args:
        point: x and y as shares of width and height.
        record: its answer is an outline, "[(x, y), (x, y), ...]", with three corners or more.

    Returns:
        True inside, by the even-odd rule.

    Raises:
        RecordError: the answer is no outline.
    """
    corners = outline(record)
    x, y = point
    inside = False
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (x1 - x0) * (y - y0) / (y1 - y0):
            inside = not inside
    return inside


def outline(record: Record) -> list[Point]:
    """Read the outline of a region; a RecordError where the record's answer is none."""
    corners = _CORNERS.findall(record.answer) if _OUTLINE.fullmatch(record.answer) else []
    if len(corners) < 3:
        raise RecordError(
            f"expected an outline such as [(0.1, 0.2), (0.3, 0.2), (0.2, 0.4)], got {record.answer[:60]!r}, "
            f"at record {record.id!r}; fix: correct the answer, or choose another rule"
        )
    return [(float(x), float(y)) for x, y in corners]


def written(points: list[Point]) -> str:
    """Write points in one way."""
    return ", ".join(f"({x:.6g}, {y:.6g})" for x, y in points)


def _is_pair(value: Any) -> bool:
    """Two finite numbers; a whole number of any length is compared, never converted, before it is one."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, int | float) and not isinstance(part, bool) for part in value)
        and all(abs(part) < 1e300 and not math.isnan(part) for part in value)
    )
