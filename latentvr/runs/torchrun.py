"""`torchrun` with this library's signals and exit codes: `python -m latentvr.runs.torchrun`, same arguments.

`torchrun` itself gives up on processes that take longer than half a minute to save after a signal, dies of
SIGUSR1, and ends with 1 whatever its processes ended with. Here a signal is passed on once to every process
of this machine, which finishes its optimiser step, saves and leaves; the exit code is theirs.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Sequence
from types import FrameType

import psutil
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

PASSED_ON = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
#: `torchrun` wants to handle some signal; this one ends everything at once.
LEFT_TO_TORCHRUN = signal.SIGQUIT


def main(argv: Sequence[str] | None = None) -> int:
    """Start the processes, pass signals on to them and wait for their end.

    Args:
        argv: arguments of `torchrun`; those of the program by default.

    Returns:
        0, or the exit code of the processes: see `exit_code`.
    """
    for number in PASSED_ON:
        signal.signal(number, _pass_on)
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        torchrun([f"--signals-to-handle={LEFT_TO_TORCHRUN.name}", *arguments])
    except ChildFailedError as error:
        return exit_code([failure.exitcode for failure in error.failures.values()])
    return 0


def exit_code(codes: Collection[int]) -> int:
    """Tell how a launch ended from how its failed processes did.

    When one process ends with an error, the others are stopped by a signal; its own code is what counts.

    Args:
        codes: exit code of each failed process, minus the signal's number where one killed it.

    Returns:
        The largest code; 128 plus the signal's number where signals killed them all.
    """
    code = max(codes)
    return code if code >= 0 else 128 - code


def _pass_on(number: int, frame: FrameType | None) -> None:
    """Send a signal to the processes; a hang-up asks for a save as a termination does."""
    del frame
    processes = psutil.Process().children()
    if not processes:
        sys.exit(128 + number)
    for process in processes:
        try:
            process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
        except psutil.NoSuchProcess:
            continue  # it has just ended


if __name__ == "__main__":
    sys.exit(main())
