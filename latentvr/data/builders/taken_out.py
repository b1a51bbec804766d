"""Images of a large row group laid side by side in a file of their own, to be read in any order.

Parquet is read from the beginning of a row group. A build of some of a data set's rows tries them in an
order of its own; where one row group holds gigabytes, each of them would be a pass over gigabytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

from latentvr.errors import UserError

#: Bytes of images in a row group from which on they are taken out.
LARGE = 64_000_000


class TakenOut:
    """A copy of images, in a temporary file that goes with this object or with the process.

    Args:
        images: of each row; they are written one behind the other.

    Raises:
        UserError: there is no room for the file.
    """

    def __init__(self, images: Iterable[tuple[bytes, ...]]) -> None:
        self._rows: list[tuple[tuple[int, int], ...]] = []
        try:
            self._file = tempfile.TemporaryFile(prefix="latentvr-")  # noqa: SIM115 - kept open
            for row in images:
                self._rows.append(tuple((self._file.tell(), self._file.write(image)) for image in row))
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"expected room for a copy of the images, got: {error.strerror or error}, at the folder of "
                "temporary files; fix: let TMPDIR name a folder with room, or take fewer workers, or all rows"
            ) from error

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def row(self, index: int) -> tuple[bytes, ...]:
        """Read the images of a row.

        Args:
            index: of the row, from 0.

        Returns:
            Their bytes, in order.
        """
        out = []
        for begin, length in self._rows[index]:
            self._file.seek(begin)
            out.append(self._file.read(length))
        return tuple(out)
