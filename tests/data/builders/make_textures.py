"""Pictures that no measure takes for one another: soft patches of colour, drawn by a seed."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def texture(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    patches = np.random.default_rng(seed).integers(0, 256, (7, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int = 70) -> Image.Image:
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def png_bytes(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()
