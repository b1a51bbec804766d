"""Tokenizer, chat template and image processor of a backbone; needs no torchvision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import cached_file

from latentvr.errors import ModelError

IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105 - a vocabulary entry


class Processor:
    """What turns messages and images into ids and patches.

    The stock processor classes need torchvision for their video part even when there is no video; their
    tokenizer and their PIL image processor, used here, do not, and give the same ids and patches.

    Args:
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

        Args:
            images: in the order of their placeholders in the prompt.

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

    Args:
        path: the folder or id.
        revision: commit, tag or branch on the hub; the main branch by default.
        trust_remote_code: let the tokenizer's own code run.

    Returns:
        The processor, its tokenizer with a chat template.

    Raises:
        ModelError: files are missing or damaged, the tokenizer has no words or no chat template, or it is of
            another family.
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
    _require_words(tokenizer, path)
    if not tokenizer.chat_template:
        tokenizer.chat_template = _older_chat_template(path, revision)
    return Processor(tokenizer, image_processor)


def _require_words(tokenizer: PreTrainedTokenizerBase, path: str) -> None:
    """Refuse what transformers makes of a folder without tokenizer.json: control tokens and no words."""
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) == len(tokenizer.added_tokens_decoder):
        raise ModelError(
            f"expected a tokenizer with words, got control tokens alone, at {path!r}; "
            "fix: add tokenizer.json to the folder"
        )
    if IMAGE_TOKEN not in vocabulary:
        raise ModelError(
            f"expected a tokenizer with {IMAGE_TOKEN}, got one without, at {path!r}; "
            "fix: use a model of the Qwen2.5-VL, Qwen3-VL or LLaVA-OneVision-1.5 family"
        )


def _older_chat_template(path: str, revision: str | None) -> str:
    """Read the chat template of folders that keep it in `chat_template.json`."""
    file = cached_file(
        path, "chat_template.json", revision=revision, _raise_exceptions_for_missing_entries=False
    )
    if file is None:
        raise ModelError(
            f"expected a chat template in {path!r}, got none; fix: add chat_template.jinja to the folder"
        )
    try:
        return str(json.loads(Path(file).read_text(encoding="utf-8"))["chat_template"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"expected JSON with a chat_template, got: {first_line(error)}, at {file!r}; "
            "fix: download the file again"
        ) from error


def first_line(error: Exception) -> str:
    """First line of an error's text, for a one-sentence message."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
