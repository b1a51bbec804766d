"""Rewards by name: the library's own, entry points of the group `latentvr.rewards`, and the user's file.

A reward is a function `fn(prompts, completions, **columns) -> list[float | None]`, as TRL takes them. Names
are found without importing torch; `resolve` imports what it finds.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from latentvr.config.suggest import close, sentence
from latentvr.errors import RecipeError
from latentvr.rl.rewards.others_code import OthersCode

if TYPE_CHECKING:
    from latentvr.config.rl_section import RLConfig

GROUP = "latentvr.rewards"
OWN = {
    "accuracy": "latentvr.rl.rewards.accuracy:accuracy_reward",
    "attention": "latentvr.rl.rewards.attention:attention_reward",
    "format": "latentvr.rl.rewards.format:format_reward",
    "necessity": "latentvr.rl.rewards.necessity:necessity_reward",
    "roi_reconstruction": "latentvr.rl.rewards.reconstruction:roi_reconstruction_reward",
}


@dataclass(frozen=True)
class RewardFunction:
    """A reward with its name.

    Attributes:
        name: as in `rl.rewards`.
        function: called with keywords alone.
        timed: whether `rl.reward_timeout` holds. The library's own bound their work themselves, and those
            that run the model take as long as the model does.
    """

    name: str
    function: Callable[..., Any]
    timed: bool = True


def names() -> list[str]:
    """Return the names of the library's rewards and of those of installed packages, sorted; imports none.

    Returns:
        The names; those of a user's file are not among them.

    Raises:
        RecipeError: two rewards have one name.
    """
    return sorted({**OWN, **_entry_points()})


def resolve(rl: RLConfig) -> list[RewardFunction]:
    """Find the functions that a recipe names.

    Args:
        rl: its section; `rewards`, `reward_file` and `trust_reward_file` count.

    Returns:
        One for each of `rl.rewards`, in that order.

    Raises:
        RecipeError: no reward has the name or two have it, a package cannot be imported, what it gives is no
            function, or the file is not trusted or raises.
    """
    points = _entry_points()
    of_file: dict[str, Any] = {}
    if rl.reward_file is not None:
        from latentvr.rl.rewards.user_file import load

        of_file = vars(load(rl.reward_file, trusted=rl.trust_reward_file))
    return [_resolve(name, points, of_file, rl) for name in rl.rewards]


def _resolve(name: str, points: dict[str, Any], of_file: dict[str, Any], rl: RLConfig) -> RewardFunction:
    known = name in OWN or name in points
    if known and name in of_file:
        raise RecipeError(
            f"expected one reward of the name {name!r}, got one in {rl.reward_file} too, at rl.rewards; "
            "fix: rename the function of the file"
        )
    if not known and name not in of_file:
        raise RecipeError(_unknown(name, {**OWN, **points}, of_file, rl.reward_file))
    if name in OWN:
        module, _, attribute = OWN[name].partition(":")
        return RewardFunction(name, getattr(importlib.import_module(module), attribute), timed=False)
    if name in of_file:
        return RewardFunction(name, _callable(of_file[name], name, str(rl.reward_file)))
    where = f"entry point {points[name].value} (reward {name!r})"
    with OthersCode("an importable reward", where, "reinstall its package", RecipeError):
        function = points[name].load()
    return RewardFunction(name, _callable(function, name, where))


def _unknown(name: str, installed: dict[str, Any], of_file: dict[str, Any], file: str | None) -> str:
    own = [key for key, value in of_file.items() if callable(value) and not key.startswith("_")]
    known = sorted({*installed, *own})
    where = "at rl.rewards" if file is None else f"at rl.rewards and in {file}"
    hint = sentence(close(name, known)) or "; fix: use one of these, or define it in rl.reward_file"
    return f"expected rewards of {', '.join(known)}, got {name!r}, {where}{hint}"


def _callable(function: Any, name: str, where: str) -> Callable[..., Any]:
    if not callable(function) or isinstance(function, type):
        raise RecipeError(
            f"expected a function {name}(prompts, completions, **columns), got a {type(function).__name__}, "
            f"at {where}; fix: define it as a function"
        )
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise RecipeError(
            f"expected a function that returns its rewards, got an async one, at {name} of {where}; fix: "
            "define it with def, and wait inside"
        )
    found: Callable[..., Any] = function
    return found


def _entry_points() -> dict[str, metadata.EntryPoint]:
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=GROUP):
        other = OWN.get(point.name) or getattr(found.setdefault(point.name, point), "value", None)
        if other != point.value:
            raise RecipeError(
                f"expected one reward of the name {point.name!r}, got {other} and {point.value}, at "
                "installed packages; fix: uninstall one of them"
            )
    return found
