"""Rewards of a user's own file, for runs of `latentvr rl` in tests."""

from __future__ import annotations

import os
import signal
from typing import Any

_calls: list[int] = []


def varied(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward that differs between completions of any text, so that every group teaches something."""
    return [sum(ids) % 7 / 7 for ids in completion_ids]


def same(completions: list[Any], **_: Any) -> list[float]:
    """A reward that teaches nothing."""
    return [1.0] * len(completions)


def rarely(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    """A reward that applies to some completions alone."""
    return [sum(ids) % 3 / 3 if len(ids) % 2 else None for ids in completion_ids]


def fatal(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """As `varied`; sends its process the signal of `SIGNAL`, in the round that `IN_ROUND` counts from 1."""
    _calls.append(1)
    if len(_calls) == int(os.environ.get("IN_ROUND", "0")):
        os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
    return varied(completion_ids)
