r"""Plans in `\boxed{...}` as published scoring of visual spatial planning reads them."""

from __future__ import annotations

from latentvr.data.record import Record
from latentvr.errors import RecordError
from latentvr.evaluation.path import moves, reaches_goal

_BOX = "\\boxed{"
_MOVES = frozenset("LRUD")


def boxed_plan(text: str) -> str | None:
    r"""Take the capital letters L, R, U and D out of the last `\boxed{...}` that is closed.

    Braces inside are matched, so that `\boxed{\text{L}, \text{R}}` is LR. "Left" is L; "left" is nothing.
    """
    inside = _last_box(text)
    return "".join(sign for sign in inside or "" if sign in _MOVES) or None


def arrives(text: str, record: Record) -> bool:
    """Whether the plan of a text ends on the goal of the record's map.

    Args:
        text: what a model wrote.
        record: with `meta["map_desc"]`, rows of 1 start, 2 goal, -1 hole, 0 ice.

    Returns:
        False where there is no plan, or it ends elsewhere or in a hole. A step off the map does nothing.

    Raises:
        RecordError: the record has no map, or one without a single start.
    """
    if "map_desc" not in record.meta:
        raise RecordError(
            f"expected meta.map_desc, got none, at record {record.id!r}; "
            "fix: give the map, or choose the rule native"
        )
    plan = boxed_plan(text)
    return reaches_goal(plan or "", record.meta["map_desc"], f"record {record.id!r}") and plan is not None


def gold_plan(record: Record) -> str:
    """Give the record's own plan; "" where it has none: any plan that ends on the goal is right."""
    return boxed_plan(record.answer) or moves(record.answer) or ""


def _last_box(text: str) -> str | None:
    """What the last closed box holds; one pass over all braces."""
    open_at: list[int] = []
    best = (-1, -1)
    for place, sign in enumerate(text):
        if sign == "{":
            open_at.append(place)
        elif sign == "}" and open_at:
            start = open_at.pop()
            if start > best[0] and text.endswith(_BOX, 0, start + 1):
                best = (start, place)
    return text[best[0] + 1 : best[1]] if best[0] >= 0 else None
