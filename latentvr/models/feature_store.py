"""Features of a frozen vision tower on disk: a file per picture, found again by what made it."""

from __future__ import annotations

import hashlib
import json
import os
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
FORMAT = 1
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

    Attributes:
        folder: of this tower.
    """

    def __init__(self, folder: Path, made_by: str, merge: int) -> None:
        self.folder = folder / made_by[:16]
        self.made_by = made_by
        self.merge = merge

    def name(self, picture: Image.Image) -> str:
        """SHA-256, in hex digits, of a picture's pixels as RGB and of what makes features of them."""
        rgb = picture.convert("RGB")
        digest = hashlib.sha256(f"{self.made_by} {rgb.width} {rgb.height} ".encode())
        digest.update(rgb.tobytes())
        return digest.hexdigest()

    def file(self, name: str) -> Path:
        """Where the features of a picture are, or would be."""
        return self.folder / name[:2] / f"{name}.safetensors"

    def grid(self, name: str) -> Tensor | None:
        """Patches (3,) of a picture whose features are stored; the features themselves are not read.

        Args:
            name: of the picture.

        Returns:
            Frames, rows and columns; None where there is no file.

        Raises:
            DamagedFeatures: the file is cut short, or is no file of features.
        """
        return self._open(name, None) if self.file(name).exists() else None

    def read(self, name: str) -> tuple[Tensor, Tensor]:
        """Read the features of a picture, mapped into memory.

        Args:
            name: of the picture.

        Returns:
            Features (F, N, D) in the tower's own number format, and patches (3,).

        Raises:
            DamagedFeatures: there is no such file, or it is damaged.
        """
        found: list[Tensor] = []
        grid = self._open(name, found)
        return found[0], grid

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
            save_file({"features": features_FND.contiguous(), "grid": grid.to(torch.int64).cpu()}, aside)
            os.replace(aside, file)
        except (OSError, SafetensorError) as error:
            aside.unlink(missing_ok=True)
            raise SaveError(
                f"expected to write features of images, got: {first_line(error)}, at {str(file.parent)!r}; "
                "fix: make room or allow writing there, or set data.feature_cache_dir to another folder"
            ) from error

    def size(self) -> int:
        """Bytes of all files of this tower."""
        return sum(file.stat().st_size for file in self.folder.glob("??/*.safetensors"))

    def _open(self, name: str, found: list[Tensor] | None) -> Tensor:
        """Give the grid of a file, and put its features into `found` where they are wanted."""
        file = self.file(name)
        try:
            with safe_open(file, framework="pt") as stored:
                grid: Tensor = stored.get_tensor("grid")
                shape = stored.get_slice("features").get_shape()
                if found is not None:
                    found.append(stored.get_tensor("features"))
        except (OSError, SafetensorError) as error:
            raise self._damaged(file, first_line(error)) from error
        if grid.shape != (3,) or len(shape) != 3 or shape[1] * self.merge**2 != int(grid.prod()):
            raise self._damaged(file, f"shapes {list(shape)} and {list(grid.shape)}")
        return grid

    def _damaged(self, file: Path, got: str) -> DamagedFeatures:
        return DamagedFeatures(
            f"expected the stored features of an image, got {got}, at {str(file)!r}; "
            "fix: delete the file and start again"
        )


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
