"""SHA-256 of files and of lists of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from latentvr.errors import RecordError


def file_sha256(path: Path) -> str:
    """Hash a file without holding it in memory.

    Args:
        path: of the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        RecordError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RecordError(
            f"expected a file that can be read, got: {error.strerror or error}, at {str(path)!r}; "
            "fix: unpack the data set again"
        ) from error


def checksums(hashes: Mapping[str, str]) -> str:
    """Write hashes as `sha256sum -c` reads them, sorted by path.

    Args:
        hashes: SHA-256 by path.

    Returns:
        A line for each file.
    """
    return "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
