"""The wording of each task's question, read from `prompts.yaml` beside this file."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import yaml

_FIELD = re.compile(r"\{([a-z_]+)\}")
_CHOICE = re.compile(r"^\(([A-Z])\) (.*)$", re.MULTILINE)


def prompt(task: str, **fields: str) -> str:
    """Give the whole text shown to the model, every blank and line end as in the file.

    Args:
        task: name of the task, such as "Jigsaw".
        **fields: a text for each field that the wording has, such as `obj`.

    Returns:
        The wording with its fields filled.

    Raises:
        ValueError: the task is unknown, a field is missing, or the wording has no such field.
    """
    wording = _wording(task)
    declared = set(_FIELD.findall(wording))
    if declared != set(fields):
        raise ValueError(f"the prompt of {task} has the fields {sorted(declared)}, not {sorted(fields)}")
    # In one pass, so that braces in a filled text stay what they are.
    return _FIELD.sub(lambda found: fields[found.group(1)], wording)


def options(task: str) -> tuple[str, ...]:
    """Give the texts of the choices, (A) first; none where the question is open.

    Args:
        task: name of the task.

    Returns:
        What stands behind each letter.

    Raises:
        ValueError: the task is unknown.
    """
    return tuple(text for _, text in _CHOICE.findall(_wording(task)))


def question(task: str, **fields: str) -> str:
    """Give the prompt up to its choices.

    Args:
        task: name of the task.
        **fields: as for `prompt`.

    Returns:
        The bare question, without blanks at its ends.

    Raises:
        ValueError: as for `prompt`.
    """
    return before_choices(prompt(task, **fields))


def before_choices(text: str) -> str:
    """Give what stands before the line "(A) …" of any prompt, without blanks at its ends."""
    first = _CHOICE.search(text)
    return (text[: first.start()] if first else text).strip()


def _wording(task: str) -> str:
    known = _wordings()
    if task not in known:
        raise ValueError(f"no prompt for the task {task!r}; there are {', '.join(sorted(known))}")
    return known[task]


@cache
def _wordings() -> dict[str, str]:
    text = resources.files("latentvr.data.builders").joinpath("prompts.yaml").read_text(encoding="utf-8")
    wordings: dict[str, str] = yaml.safe_load(text)
    return wordings
