"""Log lines on the terminal, quiet where other libraries chatter."""

from __future__ import annotations

import logging
import os
import warnings


def to_terminal() -> None:
    """Show the library's own log lines, and of others only warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("latentvr").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
