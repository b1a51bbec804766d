r"""Take the contents of `\boxed{...}` out of a text by counting braces."""

from __future__ import annotations

_OPENING = r"\boxed{"


def boxed(text: str) -> list[str] | None:
    r"""Give what stands in each `\boxed{...}`, outermost ones only.

    Args:
        text: LaTeX; a brace behind a backslash is a sign of its own.

    Returns:
        The contents in order, none where there is no box; None where a box is not closed.
    """
    found, at = [], text.find(_OPENING)
    while at >= 0:
        start = at + len(_OPENING)
        end = _closing(text, start)
        if end is None:
            return None
        found.append(text[start:end])
        at = text.find(_OPENING, end + 1)
    return found


def _closing(text: str, start: int) -> int | None:
    """Place of the brace that closes the one before `start`."""
    depth, at = 1, start
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return at
        at += 1
    return None
