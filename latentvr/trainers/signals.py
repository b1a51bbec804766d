"""SIGTERM, SIGUSR1 and SIGINT: finish the optimiser step, save, exit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: Signal to exit code after a clean save.
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}


class StopRequest:
    """Remembers the first signal; a second one, of any kind, has its default effect.

    Attributes:
        exit_code: None until a signal came.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal and restore the default handlers for a second one."""
        del frame
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        for each in EXIT_CODES:
            signal.signal(each, signal.SIG_DFL)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle signals inside the block; earlier handlers come back after it."""
        before = {number: signal.signal(number, self) for number in EXIT_CODES}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class DeafWorker:
    """Starts a loader process that leaves signals to the main process.

    Schedulers and Ctrl-C signal every process of a run. A loader process that obeyed would break the step
    that the main process still has to finish; it ends when its parent tells it to.

    Args:
        seed: what else is to be done when a loader process starts.
    """

    def __init__(self, seed: Callable[[int], None] | None) -> None:
        self.seed = seed

    def __call__(self, worker: int) -> None:
        """Set up loader process `worker`."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        if hasattr(signal, "sigwaitinfo"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_leave_with_parent, daemon=True).start()
        if self.seed is not None:
            self.seed(worker)


def _leave_with_parent() -> None:
    """Wait for a SIGTERM that the parent process itself sent; those of schedulers have no effect."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
