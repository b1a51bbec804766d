"""Images for people to look at: resized, with regions marked, as PNG or JPEG and data URI."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageDraw

SMALLEST, LARGEST = 256, 512
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_LINE, _EDGE = (255, 45, 149), (255, 255, 255)


def displayed(image: Image.Image) -> Image.Image:
    """Bring an image to a size that can be looked at, in RGB.

    The longer side ends up between 256 and 512 pixels; small images grow by a whole factor and keep
    their pixels square and sharp.
    """
    image = image.convert("RGB")
    longer = max(image.size)
    if longer < SMALLEST:
        factor = -(-SMALLEST // longer)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    if longer > LARGEST:
        size = (round(image.width * LARGEST / longer) or 1, round(image.height * LARGEST / longer) or 1)
        return image.resize(size, Image.Resampling.LANCZOS)
    return image


def thumbnail(image: Image.Image, longest: int) -> Image.Image:
    """Bring an image to at most `longest` pixels on its longer side, in RGB.

    Small images grow by a whole factor, as far as it fits, and keep their pixels square and sharp.
    """
    image = image.convert("RGB")
    longer = max(image.size)
    if longer <= longest:
        factor = longest // longer
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    size = (round(image.width * longest / longer) or 1, round(image.height * longest / longer) or 1)
    return image.resize(size, Image.Resampling.LANCZOS)


def with_boxes(image: Image.Image, boxes: Sequence[tuple[float, float, float, float]]) -> Image.Image:
    """Draw normalised boxes (x0, y0, x1, y1) on a copy of an image, visible on any ground."""
    out = image.convert("RGB").copy()
    draw = ImageDraw.Draw(out)
    width = max(2, max(out.size) // 128)
    for box in boxes:
        x0, y0, x1, y1 = (round(v * (side - 1)) for v, side in zip(box, (*out.size, *out.size), strict=True))
        draw.rectangle((x0, y0, x1, y1), outline=_EDGE, width=width + 2)
        inner = (x0 + 1, y0 + 1, max(x1 - 1, x0 + 1), max(y1 - 1, y0 + 1))
        draw.rectangle(inner, outline=_LINE, width=width)
    return out


def png(image: Image.Image) -> bytes:
    """Encode an image as PNG, without its metadata."""
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def jpeg(image: Image.Image, quality: int = 80) -> bytes:
    """Encode an image as JPEG, without its metadata; a photograph takes a tenth of its PNG."""
    bare = image.convert("RGB").copy()
    # Pillow carries a comment of the file that the image came from over to the new file.
    bare.info.clear()
    buffer = BytesIO()
    bare.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def data_uri(encoded: bytes) -> str:
    """Write an encoded image as a data URI.

    Args:
        encoded: a PNG or a JPEG file.

    Returns:
        The address that holds the image.

    Raises:
        ValueError: where the bytes are neither PNG nor JPEG.
    """
    for signature, kind in _SIGNATURES.items():
        if encoded.startswith(signature):
            return f"data:{kind};base64," + b64encode(encoded).decode("ascii")
    raise ValueError(f"expected the bytes of a PNG or JPEG image, got {encoded[:8]!r}")
