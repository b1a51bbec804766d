"""CLIP's image embeddings from a local folder, by which pictures are compared before pixels are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from latentvr.errors import ModelError


class Clip:
    """A CLIP model on the CPU, opened from a folder and never from the network.

    Args:
        folder: with the model's config, its safetensors weights and its image processor's settings.

    Raises:
        ModelError: there is no such folder, or it holds no CLIP model.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise _unusable("no such folder", folder)
        from transformers import CLIPImageProcessorPil, CLIPModel

        try:
            self._processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
            self._model, info = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unusable(" ".join(str(error).split())[:200], folder) from error
        # Weights that the folder lacks would be drawn at random, and every cosine with them.
        if info["missing_keys"] or info["mismatched_keys"]:
            raise _unusable("weights that do not fit CLIPModel", folder)
        self._model.eval()

    def embed(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Embed pictures in one batch.

        Args:
            pictures: N RGB pictures of any sizes.

        Returns:
            (N, D) float32, each row of length 1, so that a dot product is the cosine.
        """
        import torch

        inputs = self._processor(images=list(pictures), return_tensors="pt")
        with torch.inference_mode():
            features = self._model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
            unit = torch.nn.functional.normalize(features.float(), dim=-1)
        embeddings: np.ndarray = unit.numpy()
        return embeddings


def _unusable(got: str, folder: Path) -> ModelError:
    return ModelError(
        f"expected a CLIP model in safetensors, got {got}, at {folder}; "
        "fix: name a folder that holds CLIPModel and its image processor, or leave clip empty"
    )
