"""SIGTERM, SIGUSR1 and SIGINT: finish the optimiser step, save, exit."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Signal to exit code after a clean save.
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}


class StopRequest:
    """Remembers the first signal; the second one has its default effect.

    Attributes:
        exit_code: None until a signal came.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal and restore the default handler for a second one."""
        del frame
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        signal.signal(number, signal.SIG_DFL)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle signals inside the block; earlier handlers come back after it."""
        before = {number: signal.signal(number, self) for number in EXIT_CODES}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
