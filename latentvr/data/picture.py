"""Images for people to look at: enlarged, with regions marked, as PNG and data URI."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageDraw

SMALLEST, LARGEST = 256, 512
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


def data_uri(png_bytes: bytes) -> str:
    """Write PNG bytes as a data URI."""
    return "data:image/png;base64," + b64encode(png_bytes).decode("ascii")
