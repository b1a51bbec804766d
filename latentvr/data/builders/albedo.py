"""Albedo maps as linear light, from OpenEXR, NumPy or sRGB picture files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentvr.data.builders.pictures import open_file
from latentvr.data.images import MAX_PIXELS
from latentvr.data.readers.fields import shown, wrong
from latentvr.errors import UserError

Linear = NDArray[np.float32]
# Of Rec. 709, the primaries of sRGB. The paper says luminance, and not with which weights.
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)


def read_albedo(path: Path, root: Path) -> Linear:
    """Read an albedo map.

    Args:
        path: `.exr` and `.npy` hold linear values, `.png` values of sRGB.
        root: folder that the file lies below.

    Returns:
        Linear RGB (height, width, 3); values may be zero or not finite where the albedo is unknown.

    Raises:
        RecordError: the file is damaged, or holds no RGB map.
        ImageError: a picture cannot be opened.
        UserError: an `.exr` file, and OpenEXR is not installed.
    """
    if path.suffix == ".png":
        return srgb_to_linear(np.asarray(np.asarray(open_file(path, root)) / 255, np.float32))
    values = _exr(path) if path.suffix == ".exr" else _npy(path)
    if values.ndim != 3 or values.shape[2] != 3 or not 0 < values.shape[0] * values.shape[1] <= MAX_PIXELS:
        raise wrong(
            "an RGB map", f"the shape {list(values.shape)}", path, "unpack the archive of albedo again"
        )
    return np.asarray(values, np.float32)


def luminance(linear: Linear) -> Linear:
    """Give the luminance Y of linear RGB (height, width, 3) as (height, width)."""
    return np.asarray(linear @ _WEIGHTS, np.float32)


def srgb_to_linear(values: Linear) -> Linear:
    """Undo the transfer curve of sRGB (IEC 61966-2-1), values in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _npy(path: Path) -> NDArray[Any]:
    try:
        # Mapped, so that a shape that claims too much takes no memory before it is checked.
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise wrong(
            "an array file of numbers", shown(str(error)), path, "write it with numpy.save"
        ) from error
    if values.dtype.kind not in "fiu":
        raise wrong("an array file of numbers", str(values.dtype), path, "write it with numpy.save")
    return values


def _exr(path: Path) -> NDArray[Any]:
    try:
        package = import_module("OpenEXR")
    except ImportError as error:
        raise UserError(
            f"expected the package OpenEXR for albedo, got none, at {path}; fix: pip install OpenEXR, "
            "or convert the albedo to .npy (linear) files"
        ) from error
    try:
        channels = package.File(str(path)).channels()
    except (OSError, RuntimeError, ValueError) as error:
        raise wrong(
            "an OpenEXR file", shown(str(error)), path, "unpack the archive of albedo again"
        ) from error
    for name in ("RGB", "RGBA"):
        if name in channels:
            return np.asarray(channels[name].pixels)[..., :3]
    if not {"R", "G", "B"} <= set(channels):
        raise wrong("channels R, G and B", ", ".join(sorted(channels)), path, "name a map of albedo")
    return np.stack([np.asarray(channels[name].pixels) for name in "RGB"], axis=-1)
