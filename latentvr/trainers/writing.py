"""Failed writes (a full disk, a lost mount) as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from latentvr.errors import SaveError


@contextmanager
def saved_or_told(target: Path) -> Iterator[None]:
    """Turn a failed write inside the block into a sentence.

    Args:
        target: the file or folder that is written.

    Yields:
        None: nothing; the write goes into the block.

    Raises:
        SaveError: the system refused the write.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _from_writer(error):
            raise
        raise SaveError(
            f"expected to write {target.name}, got: {str(error).splitlines()[0]}, at {str(target.parent)!r}; "
            "fix: make room or allow writing there, then go on with --resume"
        ) from error


def _from_writer(error: RuntimeError) -> bool:
    """Tell errors of torch's file writer from any other."""
    text = str(error)
    marks = ("PytorchStreamWriter", "inline_container", "enforce fail", "iostream")
    return any(mark in text for mark in marks)
