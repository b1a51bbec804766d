"""Tokenizer, chat template and image processor of a backbone; needs no torchvision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from latentvr.errors import ModelError

IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105 - a vocabulary entry


class Processor:
    """What turns messages and images into ids and patches.

    The stock processor classes need torchvision for their video part even when there is no video; their
    tokenizer and their PIL image processor, used here, do not, and give the same ids and patches.

    Attributes:
        tokenizer: with a chat template.
        image_processor: gives `pixel_values` (patches, values) and `image_grid_thw` (images, 3).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, image_processor: Any) -> None:
        self.tokenizer: Any = tokenizer
        self.image_processor = image_processor

    @property
    def image_token_id(self) -> int:
        """Id of the placeholder that stands for one visual token."""
        return int(self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))

    @property
    def never_sampled(self) -> list[int]:
        """Ids of image and video placeholders, which a model must never write."""
        ids = self.tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, "<|video_pad|>"])
        return [i for i in ids if i is not None and i != self.tokenizer.unk_token_id]

    def add_tokens(self, texts: Sequence[str]) -> list[int]:
        """Add control tokens to the vocabulary, those that are there already excepted, and give their ids."""
        if not texts:
            return []
        tokens = {"additional_special_tokens": list(texts)}
        self.tokenizer.add_special_tokens(tokens, replace_extra_special_tokens=False)
        ids: list[int] = self.tokenizer.convert_tokens_to_ids(list(texts))
        return ids

    def encode_images(self, images: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        """Cut RGB images into patches.

        Returns:
            pixel_values (P, values per patch), and grids (images, 3): frames, rows and columns in patches.
        """
        out = self.image_processor(images=list(images), return_tensors="pt")
        return out["pixel_values"], out["image_grid_thw"]

    def visual_tokens(self, grid: Tensor) -> int:
        """Number of visual tokens of one image with `grid` (3,)."""
        return int(grid.prod()) // int(self.image_processor.merge_size) ** 2

    def set_pixels(self, smallest: int | None, largest: int | None) -> None:
        """Bound the image area in pixels; None leaves a bound as it is."""
        size = dict(self.image_processor.size)
        if smallest is not None:
            size["shortest_edge"] = smallest
        if largest is not None:
            size["longest_edge"] = largest
        self.image_processor.size = type(self.image_processor.size)(**size)

    def save(self, folder: Path) -> None:
        """Write tokenizer, chat template and image settings to `folder`."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


def load_processor(path: str, revision: str | None = None, trust_remote_code: bool = False) -> Processor:
    """Load a processor from a local folder or a hub id.

    Raises:
        ModelError: files are missing, or the tokenizer has no chat template.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=revision, trust_remote_code=trust_remote_code
        )
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(path, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"expected tokenizer and image processor files in {path!r}, got: {first_line(error)}; "
            "fix: give a complete model folder or a hub id that can be reached"
        ) from error
    if not tokenizer.chat_template:
        tokenizer.chat_template = _older_chat_template(path)
    return Processor(tokenizer, image_processor)


def _older_chat_template(path: str) -> str:
    """Read the chat template of folders that keep it in `chat_template.json`."""
    file = Path(path) / "chat_template.json"
    if not file.is_file():
        raise ModelError(
            f"expected a chat template in {path!r}, got none; fix: add chat_template.jinja to the folder"
        )
    return str(json.loads(file.read_text(encoding="utf-8"))["chat_template"])


def first_line(error: Exception) -> str:
    """First line of an error's text, for a one-sentence message."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
