"""A limit in seconds for one call of code that may never end.

Two timers of the process watch the call. The wall clock (SIGALRM) stops whatever waits. A tick of processor
time (SIGVTALRM) stops what computes, even if the call itself has set and cancelled an alarm, as packages with
time limits of their own do.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from latentvr.errors import UserError

Made = TypeVar("Made")
TICK = 0.1
"""Seconds of processor time between two looks at the clock."""


class TimeLimitError(UserError):
    """A call took longer than its limit."""


class _Expired(BaseException):
    """Unwinds a call; not an `Exception`, so that the call cannot take it for one of its own errors."""

    def __init__(self, limit: _Limit) -> None:
        super().__init__("time limit")
        self.limit = limit


class _Limit:
    """One call that is watched."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.active = True


#: Calls within calls, the outermost first.
_watched: list[_Limit] = []


def limited(call: Callable[[], Made], seconds: float) -> Made:
    """Run a call, and stop it where it takes too long.

    Pure Python, `re`, waiting and the arithmetic of long integers are stopped at once. A call of other
    compiled code (a CUDA kernel, most of numpy) is stopped when it returns to Python. Handlers and timers are
    as before afterwards; a timer that somebody else had set waits meanwhile, and fires late.

    Args:
        call: takes nothing; its own limits on calls inside are kept, whichever is earlier.
        seconds: on the wall clock, above 0.

    Returns:
        What the call returns.

    Raises:
        TimeLimitError: it took longer, or it swallowed the stop and then ended.
        UserError: this is not the main thread, where alone Python can stop a call.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UserError(
            f"expected the main thread, got {threading.current_thread().name!r}, at a call with a time "
            "limit; fix: call it from the main thread"
        )
    limit = _Limit(seconds)
    before = _Timers(seconds)
    try:
        _watched.append(limit)
        made = call()
    except _Expired as expired:
        if expired.limit is not limit:
            raise
        raise _too_long(seconds) from None
    finally:
        # Nothing may come before this: a signal that is late must not stop the tidying up.
        limit.active = False
        # With whatever the stop of an outer call has left behind it.
        del _watched[_watched.index(limit) :]
        before.restore()
    if time.monotonic() > limit.end:
        raise _too_long(seconds)
    return made


class _Timers:
    """Sets handlers and timers, and keeps those that were there before."""

    def __init__(self, seconds: float) -> None:
        self.start = time.monotonic()
        self.handlers = {
            number: signal.signal(number, _look) for number in (signal.SIGALRM, signal.SIGVTALRM)
        }
        earliest = min([seconds, *(limit.end - self.start for limit in _watched)])
        # It fires again each second: the call may have swallowed the first stop.
        self.wall = signal.setitimer(signal.ITIMER_REAL, max(earliest, TICK / 100), 1.0)
        self.ticks = signal.setitimer(signal.ITIMER_VIRTUAL, TICK, TICK)

    def restore(self) -> None:
        """Put back what was there; a wall clock that has run out meanwhile fires now."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        for number, handler in self.handlers.items():
            # None is a handler of compiled code, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.setitimer(signal.ITIMER_VIRTUAL, *self.ticks)
        delay, interval = self.wall
        if delay:
            left = delay - (time.monotonic() - self.start)
            signal.setitimer(signal.ITIMER_REAL, max(left, TICK / 100), interval)


def _look(number: int, frame: FrameType | None) -> None:
    """Stop the outermost call whose time is up."""
    del number, frame
    now = time.monotonic()
    for limit in _watched:
        if limit.active and now >= limit.end:
            raise _Expired(limit)


def _too_long(seconds: float) -> TimeLimitError:
    return TimeLimitError(
        f"expected a call to end within {seconds:g} s, got none, at a time limit; fix: raise the limit"
    )
