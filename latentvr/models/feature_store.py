"""Features of a frozen vision tower on disk: a file per picture, found again by what made it."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from latentvr.data.processor import Processor, first_line
from latentvr.errors import SaveError, UserError
from latentvr.models.backbone import Backbone

#: Goes up when the meaning of a file changes: older files are then no longer found.
FORMAT = 2
#: Frames, rows and columns of a picture, in patches.
Grid = tuple[int, int, int]
#: Where a file says it; one entry, as the order of several is not fixed and files would differ.
_CHECKED = "format and crc32"
_PIXELS = (
    "patch_size", "merge_size", "temporal_patch_size", "size", "image_mean", "image_std", "do_resize",
    "do_rescale", "do_normalize", "do_convert_rgb", "resample", "rescale_factor",
)  # fmt: skip
#: Settings of a vision tower that say how it is computed or was written, and not what it computes.
_NO_MATTER = ("dtype", "torch_dtype", "transformers_version", "_name_or_path", "architectures")


class DamagedFeatures(UserError):
    """A file of features cannot be read."""


class FeatureStore:
    """The features of one vision tower under one set of pixel settings.

    Args:
        folder: shared by all towers; each has a folder of its own in it, by its first 16 hex digits.
        made_by: digest of tower and settings, from `tower_digest`.
        merge: patches per side of a visual token.
        width: of the features.
        dtype: number format of the features.

    Attributes:
        folder: of this tower.
    """

    def __init__(self, folder: Path, made_by: str, merge: int, width: int, dtype: torch.dtype) -> None:
        self.folder = folder / made_by[:16]
        self.made_by = made_by
        self.merge = merge
        self.width = width
        self.dtype = dtype

    def require_writable(self) -> None:
        """Make the folder and write a file in it, before any work is done.

        Raises:
            UserError: the system refuses it.
        """
        probe = self.folder / f".{uuid4().hex}.partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"expected a folder that can be written, got: {first_line(error)}, at "
                f"data.feature_cache_dir={str(self.folder.parent)!r}; fix: set data.feature_cache_dir to "
                "another folder, or allow writing there"
            ) from error

    def name(self, picture: Image.Image) -> str:
        """SHA-256, in hex digits, of a picture's pixels as RGB and of what makes features of them."""
        rgb = picture.convert("RGB")
        digest = hashlib.sha256(f"{self.made_by} {rgb.width} {rgb.height} ".encode())
        digest.update(rgb.tobytes())
        return digest.hexdigest()

    def file(self, name: str) -> Path:
        """Where the features of a picture are, or would be."""
        return self.folder / name[:2] / f"{name}.safetensors"

    def grid(self, name: str) -> Grid | None:
        """Patches of a picture whose features are stored whole.

        Args:
            name: of the picture.

        Returns:
            Frames, rows and columns; None where there is no file.

        Raises:
            DamagedFeatures: the file is cut short, is no file of features, or its values have changed.
        """
        return self._open(name)[1] if self.file(name).exists() else None

    def read(self, name: str) -> Tensor:
        """Read the features of a picture, mapped into memory.

        Args:
            name: of the picture.

        Returns:
            Features (F, N, D) in the tower's own number format.

        Raises:
            DamagedFeatures: there is no such file, or it is damaged.
        """
        return self._open(name)[0]

    def write(self, name: str, features_FND: Tensor, grid: Tensor) -> None:
        """Store features, aside and then under their name: a reader sees a whole file or none.

        Args:
            name: of the picture.
            features_FND: on the CPU.
            grid: patches (3,).

        Raises:
            SaveError: the system refused the write.
        """
        file = self.file(name)
        aside = file.with_name(f".{name[:16]}-{uuid4().hex}.partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            tensors = {"features": features_FND.contiguous(), "grid": grid.to(torch.int64).cpu()}
            save_file(tensors, aside, {_CHECKED: checksum(**tensors)})
            os.replace(aside, file)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):  # where a folder is a file, this is refused too
                aside.unlink()
            raise SaveError(
                f"expected to write features of images, got: {first_line(error)}, at {str(file.parent)!r}; "
                "fix: make room or allow writing there, or set data.feature_cache_dir to another folder"
            ) from error

    def size(self) -> int:
        """Bytes of all files of this tower."""
        return sum(file.stat().st_size for file in self.folder.glob("??/*.safetensors"))

    def _open(self, name: str) -> tuple[Tensor, Grid]:
        """Give the features of a file and its grid."""
        file = self.file(name)
        try:
            with safe_open(file, framework="pt") as stored:
                facts = stored.metadata() or {}
                features, grid = stored.get_tensor("features"), stored.get_tensor("grid")
        except (OSError, SafetensorError) as error:
            raise self._damaged(file, first_line(error)) from error
        shape = features.shape
        if (
            grid.shape != (3,)
            or len(shape) != 3
            or shape[1] * self.merge**2 != int(grid.prod())
            or (shape[2], features.dtype) != (self.width, self.dtype)
        ):
            raise self._damaged(file, f"shapes {list(shape)} and {list(grid.shape)} in {features.dtype}")
        if facts.get(_CHECKED) != checksum(features, grid):
            raise self._damaged(file, "values that do not fit their checksum")
        frames, rows, columns = grid.tolist()
        return features, (frames, rows, columns)

    def _damaged(self, file: Path, got: str) -> DamagedFeatures:
        return DamagedFeatures(
            f"expected the stored features of an image, got {got}, at {str(file)!r}; "
            "fix: delete the file and start again"
        )


def checksum(features: Tensor, grid: Tensor) -> str:
    """Format of the file, and CRC-32 of features (F, N, D) and grid (3,) in hex digits."""
    seen = 0
    for tensor in (features, grid):
        seen = zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, seen)
    return f"{FORMAT} {seen:08x}"


def tower_digest(backbone: Backbone, processor: Processor) -> str:
    """SHA-256, in hex digits, of all that features depend on beside the picture.

    Args:
        backbone: weights, number format and settings of its vision tower count.
        processor: its pixel settings count.

    Returns:
        The digest; other weights, another number format or other settings give another one.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(_facts(backbone, processor), sort_keys=True, default=str).encode())
    for name, tensor in sorted(backbone.vision_tower.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _facts(backbone: Backbone, processor: Processor) -> dict[str, Any]:
    """Settings of the tower and of its pixels."""
    own, pixels = backbone.vision_tower.config.to_dict(), processor.image_processor
    settings = {k: v for k, v in own.items() if k not in _NO_MATTER and "attn_implementation" not in k}
    shown = {name: getattr(pixels, name, None) for name in _PIXELS}
    shown["size"] = dict(shown["size"] or {})
    return {"format": FORMAT, "tower": settings, "pixels": shown}
