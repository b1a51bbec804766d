"""Where a setting comes from, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """The place that gave a setting its value.

    Attributes:
        place: `default`, `method default`, `command line`, or a file with a line: `recipes/x.yaml:12`.
    """

    place: str

    def __str__(self) -> str:
        """Return the place, as messages and run folders show it."""
        return self.place


DEFAULT = Origin("default")
METHOD_DEFAULT = Origin("method default")
COMMAND_LINE = Origin("command line")


@dataclass(frozen=True)
class Setting:
    """A value of a key, before interpolation, with its origin."""

    value: Any
    origin: Origin


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe.

    Attributes:
        key: full key, such as `optim.learning_rate`.
        message: what was expected, what was found and how to mend it; one sentence.
        origin: where the value was given.
    """

    key: str
    message: str
    origin: Origin

    def __str__(self) -> str:
        """Return one line: place, key, sentence."""
        return f"{self.origin} {self.key}: {self.message}"
