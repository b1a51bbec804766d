"""A call that never ends is stopped, whatever it does; timers and handlers of others survive."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from latentvr.errors import UserError
from latentvr.evaluation.time_limit import TimeLimitError, limited


@pytest.fixture(autouse=True)
def net() -> Iterator[None]:
    """Kills the process, and the test run, if nothing else stops a test."""
    watch = threading.Timer(
        60, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGKILL)
    )
    watch.daemon = True
    watch.start()
    yield
    watch.cancel()


def _loop() -> None:
    while True:
        pass


def _swallow() -> None:
    while True:
        with suppress(Exception):
            _loop()


def _own_alarm() -> None:
    """What packages with time limits of their own do; our alarm is gone afterwards."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.alarm(100)
    signal.alarm(0)
    _loop()


STUCK: dict[str, Callable[[], object]] = {
    "loop": _loop,
    "swallows errors": _swallow,
    "cancels the alarm": _own_alarm,
    "waits": lambda: time.sleep(100),
    "regular expression": lambda: re.match(r"(a+)+b", "a" * 60),
    "long numbers": lambda: 9 ** (9**9),
}


@pytest.mark.parametrize("name", STUCK)
def test_a_call_that_never_ends_is_stopped(name: str) -> None:
    with pytest.raises(TimeLimitError, match=r"^expected .* within 0\.2 s"):
        limited(STUCK[name], 0.2)
    assert signal.getitimer(signal.ITIMER_REAL) == signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_a_call_gives_what_it_gives() -> None:
    assert limited(lambda: 3, 5) == 3
    with pytest.raises(ZeroDivisionError):
        limited(lambda: 1 // 0, 5)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_stop_that_was_swallowed_counts() -> None:
    def stubborn() -> str:
        with suppress(BaseException):
            _loop()
        return "done"

    with pytest.raises(TimeLimitError):
        limited(stubborn, 0.2)


@pytest.mark.parametrize(("outer", "inner", "stopped"), [(0.2, 30, "outer"), (30, 0.2, "inner")])
def test_of_two_limits_the_earlier_one_holds(outer: float, inner: float, stopped: str) -> None:
    seen = []

    def within() -> None:
        try:
            limited(_loop, inner)
        except TimeLimitError:
            seen.append("inner")

    try:
        limited(within, outer)
    except TimeLimitError:
        seen.append("outer")
    assert seen == [stopped]
    with pytest.raises(TimeLimitError):
        limited(_loop, 0.2)


def test_the_timer_of_somebody_else_goes_on() -> None:
    fired: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *args: fired.append(args[0]))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        limited(lambda: time.sleep(0.05), 5)
        assert not fired
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.2
        limited(lambda: time.sleep(0.3), 5)
        time.sleep(0.05)
        assert fired == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_other_threads_are_refused() -> None:
    found: list[str] = []

    def call() -> None:
        try:
            limited(lambda: 1, 1)
        except UserError as error:
            found.append(str(error))

    thread = threading.Thread(target=call, name="other")
    thread.start()
    thread.join()
    assert found[0].startswith("expected the main thread, got 'other'")
