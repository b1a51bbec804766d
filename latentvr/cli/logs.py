"""Log lines on the terminal, quiet where other libraries chatter."""

from __future__ import annotations

import logging
import os
import time
import warnings

#: Seconds: more than a process takes to end and its launcher to notice and end the others.
TURN = 10.0


def to_terminal() -> None:
    """Show the library's own log lines, and of others only warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("latentvr").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    logging.getLogger("DeepSpeed").addFilter(_is_news)
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether DeepSpeed, which writes to standard output, says more than that there is no GPU."""
    return not record.getMessage().startswith("Setting accelerator to")


def give_way() -> None:
    """Let a machine's first process tell of an error: the launcher then ends the others unheard.

    An error of another process alone is told too, that much later.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(TURN)
