"""Images that go into a build as the data set stores them, byte for byte."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from latentvr.data.builders.builder import Rejection
from latentvr.data.builders.pictures import open_file
from latentvr.data.images import FORMATS, decode_image
from latentvr.data.sets.placed import is_link_out
from latentvr.errors import ImageError

_ORIENTATION = 0x0112


def unreadable(path: Path, root: Path) -> Rejection | None:
    """Open a file as training will do.

    Args:
        path: of the image.
        root: the data set's folder.

    Returns:
        None if it can be opened; else a rejection "link_out_of_root", "missing_image" or "unreadable_image".
    """
    if is_link_out(path, root):
        return Rejection("link_out_of_root")
    if not path.is_file():
        return Rejection("missing_image")
    try:
        open_file(path, root, FORMATS, upright=True)
    except ImageError:
        return Rejection("unreadable_image")
    return None


def undecodable(data: bytes, where: str) -> Rejection | None:
    """Give a rejection "unreadable_image" of bytes that training could not decode."""
    try:
        decode_image(data, where)
    except ImageError:
        return Rejection("unreadable_image")
    return None


def stored_size(path: Path) -> tuple[tuple[int, int], bool]:
    """Read width and height of an image that can be opened, and whether its EXIF data turn it.

    Args:
        path: of the image.

    Returns:
        (width, height) of the stored pixels, and whether a viewer turns or mirrors them.
    """
    with Image.open(path) as image:
        return image.size, image.getexif().get(_ORIENTATION, 1) != 1
