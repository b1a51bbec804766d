"""`${key}` and `${oc.env:NAME}` in recipes: which are allowed, and which keys depend on the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from latentvr.config.provenance import Problem, Setting
from latentvr.config.suggest import sentence, suggest

ENVIRONMENT = ("HF_HOME", "HOME", "SCRATCH", "WANDB_PROJECT")
"""Variables that a recipe may read; others may hold secrets, which would end in saved files."""

_MARK = re.compile(r"\$\{([^${}]*)\}")
_VARIABLE = re.compile(r"oc\.env:([A-Za-z_][A-Za-z0-9_]*)(,[^:]*)?")


def marks(value: Any) -> list[str]:
    """Return the insides of all `${…}` of a value or of a list of values."""
    found = value if isinstance(value, list) else [value]
    return [mark for text in found if isinstance(text, str) for mark in _MARK.findall(text)]


def problems(settings: Mapping[str, Setting]) -> list[Problem]:
    """Return what is wrong with the interpolations of all settings."""
    found: list[Problem] = []
    for key, setting in settings.items():
        for text in setting.value if isinstance(setting.value, list) else [setting.value]:
            message = _wrong(text, settings) if isinstance(text, str) and "${" in text else None
            if message:
                found.append(Problem(key, message, setting.origin))
    return found or _cycles(settings)


def from_environment(key: str, settings: Mapping[str, Setting]) -> bool:
    """Tell whether the value of `key` holds a variable of the environment, directly or by other keys."""
    found = marks(settings[key].value)
    return any(mark.startswith("oc.env:") or from_environment(mark, settings) for mark in found)


def _wrong(text: str, settings: Mapping[str, Setting]) -> str | None:
    if "${" in _MARK.sub("", text) or "\\${" in text:
        return f"expected ${{key}} or ${{oc.env:NAME}}, got {text!r}; fix: do not nest or escape it"
    for mark in _MARK.findall(text):
        variable = _VARIABLE.fullmatch(mark)
        if variable is not None:
            message = _wrong_variable(variable[1], variable[2] is not None)
        elif mark in settings:
            message = None
        else:
            hint = sentence(suggest(mark, list(settings))) or "; fix: name a key of the recipe"
            message = f"expected a full key or oc.env:NAME in ${{…}}, got {mark!r}{hint}"
        if message:
            return message
    return None


def _wrong_variable(name: str, has_default: bool) -> str | None:
    if name not in ENVIRONMENT:
        allowed = ", ".join(ENVIRONMENT)
        return f"expected a variable of {allowed}, got {name!r}; fix: write the value itself"
    if name not in os.environ and not has_default:
        return f"expected the variable {name} to be set, got none; fix: export {name} or write the value"
    return None


def _cycles(settings: Mapping[str, Setting]) -> list[Problem]:
    found = []
    for key, setting in settings.items():
        if _reaches(key, key, settings, frozenset()):
            message = f"expected a value, got {setting.value!r}, which leads back to itself; fix: write it"
            found.append(Problem(key, message, setting.origin))
    return found


def _reaches(start: str, goal: str, settings: Mapping[str, Setting], seen: frozenset[str]) -> bool:
    following = [mark for mark in marks(settings[start].value) if mark in settings and mark not in seen]
    return any(mark == goal or _reaches(mark, goal, settings, seen | {mark}) for mark in following)
