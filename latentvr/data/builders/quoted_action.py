"""The wording of functional correspondence as a row of BLINK has it, with another action in its quotes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.builders.prompts import before_choices, prompt
from latentvr.data.sets import blink
from latentvr.errors import RecordError

TASK = "Functional_Correspondence"
_QUOTED = re.compile('["\u201c]([^"\u201c\u201d]*)["\u201d]')


@dataclass(frozen=True)
class Wording:
    """A prompt in two parts, and how its author spells actions.

    Attributes:
        before: what stands before the action.
        after: what stands after it.
        spellings: BLINK's spelling of an action, by its letters alone.
        source: where the wording comes from.
    """

    before: str
    after: str
    spellings: dict[str, str]
    source: str

    def asking(self, action: str) -> str:
        """Give the prompt for an action, spelt as BLINK does if it has it."""
        return f"{self.before}{self.spellings.get(_letters(action), action)}{self.after}"

    def notes(self) -> dict[str, Any]:
        """Say where the wording comes from, for the manifest."""
        return {"prompt": self.source, "actions": sorted(self.spellings.values())}


def shipped() -> Wording:
    """Give the wording of `prompts.yaml`, which is not verified."""
    before, _, after = prompt(TASK, action="\0").partition("\0")
    return Wording(before, after, {}, "prompts.yaml: not verified against BLINK")


def from_blink(path: Path) -> Wording:
    """Take the wording from BLINK's rows: the last text in quotes before the choices is the action.

    Args:
        path: folder or parquet file of BLINK with the sub-task's rows.

    Returns:
        The wording.

    Raises:
        RecordError: no row, no text in quotes, or rows that differ in more than the action.
    """
    parts: dict[tuple[str, str], str] = {}
    actions = set()
    for row in blink.rows(path, TASK):
        quoted = list(_QUOTED.finditer(row.prompt, 0, len(before_choices(row.prompt))))
        if not quoted:
            raise _error("an action in quotes", "none", row.where)
        start, end = quoted[-1].span(1)
        parts.setdefault((row.prompt[:start], row.prompt[end:]), row.where)
        actions.add(quoted[-1][1])
    if len(parts) != 1:
        expected = "prompts that differ in the quoted action alone"
        raise _error(expected, f"{len(parts)} wordings", " and ".join(list(parts.values())[:2]))
    ((before, after),) = parts
    return Wording(
        before, after, {_letters(action): action for action in sorted(actions)}, "BLINK's own rows"
    )


def _letters(action: str) -> str:
    return "".join(character for character in action.lower() if character.isalnum())


def _error(expected: str, got: str, where: str) -> RecordError:
    return RecordError(
        f"expected {expected}, got {got}, at {where}; fix: name BLINK's own files, or leave blink empty"
    )
