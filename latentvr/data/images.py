"""Open images that somebody else named and made.

A name must lead to a regular file below the image root; the content, not the ending of the name,
decides what the file is; and the size in the header is checked before anything is decoded. Sides
below 2 pixels are refused: they are place-holders of failed downloads, not pictures.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from latentvr.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP")
_SHOWN_FORMATS = {"WEBP": "WebP"}
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000
MIN_SIDE = 2

_URL_OR_DRIVE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:|file:|[A-Za-z]:")
_ALPHA_MODES = ("RGBA", "LA")
_OPAQUE_MODES = ("RGB", "L", "P", "1", "CMYK")
_DEEP_GREY_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_ON_THEIR_SIDE = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_NOTES = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # PNG chunks that may hold an orientation
# All that Pillow's decoders have been seen to raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)


def open_image(
    name: str, root: str | Path, where: str, *, formats: Sequence[str] = FORMATS, upright: bool = True
) -> Image.Image:
    """Open the image of a record as RGB, turned upright by its EXIF orientation.

    Args:
        name: path relative to the root, with "/" between folders.
        root: the image root; links may not lead out of it.
        where: what errors name as the place, for example "records.jsonl row 12".
        formats: Pillow's names of the formats that are taken.
        upright: False leaves the pixels as they are stored, for coordinates that count stored pixels.

    Returns:
        The picture as RGB.

    Raises:
        ImageError: the name is unsafe, the file is missing, too large, not a picture of one frame in
            one of the formats, or damaged.
    """
    path = resolve_image(name, root, where)
    place = f"{where}, image {_shown(name)}"
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _error("a readable file", str(error.strerror), place, "check its permissions") from error
    return decode_image(data, place, formats=formats, upright=upright)


def resolve_image(name: str, root: str | Path, where: str) -> Path:
    """Give the file that a name stands for, links followed.

    Args:
        name: path relative to the root.
        root: the image root.
        where: what errors name as the place.

    Returns:
        The real path of the file.

    Raises:
        ImageError: the name is absolute, a URL, climbs with "..", leads out of the root, or names
            no regular file.
    """
    place = f"{where}, image {_shown(name)}"
    try:
        base = Path(root).resolve(strict=True)
        path = (base / relative_name(name, where)).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        # RuntimeError is what Python 3.12 and older raise for a loop of links.
        got = "no such file" if isinstance(error, FileNotFoundError) else "a path that cannot be followed"
        raise _error(f"a file below {root}", got, place, "check the name and data.image_root") from error
    if not path.is_relative_to(base):
        raise _error("a file below the image root", "a link out of it", place, "copy the file below the root")
    if not path.is_file():
        raise _error("a regular file", "something else", place, "name an image file")
    return path


def relative_name(name: str, where: str) -> str:
    """Give the name back if it is a plain path relative to the image root.

    Args:
        name: of an image.
        where: what errors name as the place.

    Returns:
        The name itself.

    Raises:
        ImageError: it is absolute, a URL, or climbs with "..".
    """
    problem = _name_problem(name)
    if problem:
        place = f"{where}, image {_shown(name)}"
        raise _error("a path relative to the image root", problem, place, "name a file below the image root")
    return name


def decode_image(
    data: bytes, where: str, *, formats: Sequence[str] = FORMATS, upright: bool = True
) -> Image.Image:
    """Decode the bytes of an image file as RGB, turned upright by its EXIF orientation.

    Transparent pictures are laid over white; 16-bit grey is scaled to 8 bits.

    Args:
        data: the whole file.
        where: what errors name as the place.
        formats: Pillow's names of the formats that are taken.
        upright: False leaves the pixels as they are stored, for coordinates that count stored pixels.

    Returns:
        The picture as RGB.

    Raises:
        ImageError: too large, not a picture of one frame in one of the formats, or damaged.
    """
    if len(data) > MAX_BYTES:
        raise _error(f"at most {MAX_BYTES} bytes", "a larger file", where, "make the image smaller")
    if not data:
        raise _error("an image file", "0 bytes", where, "copy or download the file again")
    image = _open_header(io.BytesIO(data), where, formats)
    try:
        frames = getattr(image, "n_frames", 1)
        if frames != 1:
            raise _error("one frame", f"{frames}", where, "save the frame you want as an image of its own")
        image.load()
        turned = ImageOps.exif_transpose(image) if upright else image
    except _DAMAGE as error:
        raise _error("an undamaged image", _one_line(error), where, "copy or download it again") from error
    return _to_rgb(turned, where)


def open_size(name: str, root: str | Path, where: str) -> tuple[int, int]:
    """Width and height of the image that `open_image` would give, from its header.

    Args:
        name: path relative to the root, with "/" between folders.
        root: the image root; links may not lead out of it.
        where: what errors name as the place.

    Returns:
        Pixels of the upright picture.

    Raises:
        ImageError: the name is unsafe, the file is missing, too large, no picture, or damaged at its
            beginning.
    """
    path = resolve_image(name, root, where)
    place = f"{where}, image {_shown(name)}"
    try:
        with path.open("rb") as stream:
            return decoded_size(stream, place)
    except OSError as error:
        raise _error("a readable file", str(error.strerror), place, "check its permissions") from error


def decoded_size(stream: BinaryIO, where: str) -> tuple[int, int]:
    """Width and height of the image that `decode_image` would give, from its header.

    Args:
        stream: the file, open at its start.
        where: what errors name as the place.

    Returns:
        Pixels of the upright picture.

    Raises:
        ImageError: too large, no picture in one of `FORMATS`, or damaged at its beginning.
    """
    image = _open_header(stream, where, FORMATS)
    try:
        ends_first = image.format == "PNG" and not _late_notes(stream)
        # Pillow decodes a whole PNG in search of notes behind its pixels.
        exif = Image.Image.getexif(image) if ends_first else image.getexif()
        turned = exif.get(ExifTags.Base.Orientation, 1) in _ON_THEIR_SIDE
    except _DAMAGE as error:
        raise _error("an undamaged image", _one_line(error), where, "copy or download it again") from error
    width, height = image.size
    return (height, width) if turned else (width, height)


def _late_notes(stream: BinaryIO) -> bool:
    """Whether a PNG file has notes behind its first pixels; the stream stays where it is."""
    place = stream.tell()
    stream.seek(8)
    pixels = found = False
    while not found and len(head := stream.read(8)) == 8:
        kind = head[4:]
        pixels = pixels or kind == b"IDAT"
        found = pixels and kind in _NOTES
        stream.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    stream.seek(place)
    return found


def _open_header(stream: BinaryIO, where: str, formats: Sequence[str]) -> Image.Image:
    """Read the header alone, and check the size that it claims."""
    fix = "make the image smaller"
    limit = f"at most {MAX_PIXELS} pixels"
    try:
        image = Image.open(stream, formats=list(formats))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _error(limit, "many more", where, fix) from error
    except UnidentifiedImageError as error:
        kinds = [_SHOWN_FORMATS.get(name, name) for name in formats]
        expected = f"a {' or '.join([', '.join(kinds[:-1]), kinds[-1]] if kinds[1:] else kinds)} image"
        raise _error(expected, "another or a damaged file", where, "convert it") from error
    except _DAMAGE as error:
        raise _error("an undamaged image", _one_line(error), where, "copy or download it again") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _error(limit, f"{width} x {height}", where, fix)
    if min(width, height) < MIN_SIDE:
        raise _error(
            f"sides of at least {MIN_SIDE} pixels",
            f"{width} x {height}",
            where,
            "replace the image or drop the row",
        )
    return image


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    transparent = "transparency" in image.info
    if image.mode in _DEEP_GREY_MODES and not transparent:
        grey = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in _ALPHA_MODES or (transparent and image.mode in _OPAQUE_MODES):
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    if image.mode in _OPAQUE_MODES:
        return image.convert("RGB")
    raise _error("RGB, grey, palette or CMYK pixels", f"mode {image.mode}", where, "convert the image to RGB")


def _name_problem(name: str) -> str | None:
    if not name.strip():
        return "an empty name"
    if "\0" in name:
        return "a NUL character"
    if "\\" in name:
        return "a backslash"
    if _URL_OR_DRIVE.match(name):
        return "a URL or a drive"
    if name.startswith(("/", "~")):
        return "an absolute path"
    if ".." in name.split("/"):
        return 'a ".." step'
    return None


def _shown(name: str) -> str:
    """Quote a name so that control characters and great length do no harm in a log."""
    return ascii(name if len(name) <= 200 else name[:200] + "...")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _error(expected: str, got: str, where: str, fix: str) -> ImageError:
    return ImageError(f"expected {expected}, got {got}, at {where}; fix: {fix}")
