"""What transformers says about weights without a place in the model, less those that a method uses."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)
_THEIRS = logging.getLogger("transformers.modeling_utils")
_MARK = "LOAD REPORT"


@contextmanager
def explained(apart: Collection[str]) -> Iterator[dict[str, Any]]:
    """Replace the report of transformers by a line on those tensors that nobody uses.

    The report stays where loading fails, and where no tensor is expected to be left over.

    Args:
        apart: names of tensors that are used outside the stock model.

    Yields:
        dict[str, Any]: to be filled with the loading information that transformers returns.
    """
    held: list[logging.LogRecord] = []
    info: dict[str, Any] = {}

    def hold(record: logging.LogRecord) -> bool:
        is_report = bool(apart) and _MARK in record.getMessage()
        held.extend([record] if is_report else [])
        return not is_report

    _THEIRS.addFilter(hold)
    try:
        yield info
    finally:
        _THEIRS.removeFilter(hold)
        rest = sorted(set(info.get("unexpected_keys", ())) - set(apart))
        if not info or info.get("missing_keys"):
            for record in held:
                _THEIRS.handle(record)
        elif apart and rest:
            log.warning("not used, the model has no place for them: %s", ", ".join(rest))
