"""Open the pictures of a data set's folder, in the pixels that its coordinates count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from latentvr.data.builders.builder import Rejection
from latentvr.data.images import open_image
from latentvr.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "PPM")


def open_file(
    path: Path, root: Path, formats: Sequence[str] = FORMATS, *, upright: bool = False
) -> Image.Image:
    """Open a file below the root as RGB.

    Grey, palette, CMYK and 16-bit grey pictures are converted, transparent ones laid over white.

    Args:
        path: of the file; as far as it repeats the root it must do so literally.
        root: folder that neither the path nor a link in it may leave; it may be a link itself.
        formats: Pillow's names of the formats that are taken; the content decides, not the ending.
        upright: whether to turn the picture by its EXIF orientation. Not by default: annotations count
            the pixels as they are stored.

    Returns:
        The picture as RGB, without the file's EXIF and other data.

    Raises:
        ImageError: the path leaves the root, or the file is missing, too large, not a picture of one
            frame in one of the formats, or damaged.
    """
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    picture = open_image(name, root, str(root), formats=formats, upright=upright)
    # Else a turn by EXIF that was left out here could be written with the picture, and turn it later.
    picture.info.clear()
    return picture


def opened(files: Sequence[Path], root: Path) -> list[Image.Image] | Rejection:
    """Open pictures as they are stored.

    Args:
        files: of the pictures.
        root: the data set's folder.

    Returns:
        RGB pictures, or the rejection of a missing or damaged one.
    """
    pictures = []
    for file in files:
        if not file.is_file():
            return Rejection("missing_image")
        try:
            pictures.append(open_file(file, root))
        except ImageError:
            return Rejection("unreadable_image")
    return pictures
