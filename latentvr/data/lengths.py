"""The lengths of samples in tokens, told without decoding an image or cutting one into patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from latentvr.data.dataset import EncodedDataset
from latentvr.data.encode import Encoder
from latentvr.data.processor import Processor, first_line
from latentvr.data.record import Record, Source
from latentvr.data.slots import expanded_slots, place_slots
from latentvr.errors import RecordError


@runtime_checkable
class KnowsSizes(Protocol):
    """A source that tells the sizes of images without decoding them."""

    def sizes(self, record: Record) -> list[tuple[int, int]]:
        """Width and height of each of the record's images, as `Source.images` would give them."""
        ...


class Blank(Image.Image):
    """A picture of which nothing but the size is known.

    Args:
        size: width and height in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self._size = size

    def crop(self, box: tuple[float, float, float, float] | None = None) -> Blank:
        """A part of it, as blank."""
        left, top, right, bottom = box or (0, 0, *self.size)
        return Blank((int(right) - int(left), int(bottom) - int(top)))


class SizesOnly(Processor):
    """A processor that gives the grids of pictures and no patches."""

    def encode_images(self, images: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        """Work out the grids (images, 3) of pictures from their sizes; there are no patches (0,)."""
        grids = [self._grid(*image.size) for image in images]
        return torch.zeros(0), torch.tensor(grids, dtype=torch.long).reshape(-1, 3)

    def _grid(self, width: int, height: int) -> list[int]:
        """The grid that the image processor would give, by its own rule."""
        own = self.image_processor
        bounds = own.size["shortest_edge"], own.size["longest_edge"]
        sides = smart_resize(height, width, own.patch_size * own.merge_size, *bounds)
        return [1, *(side // own.patch_size for side in sides)]


def token_lengths(data: EncodedDataset, first: int = 0, each: int = 1) -> list[int]:
    """Lengths of the samples of a data set, in tokens; those that it keeps are encoded for good.

    Args:
        data: the samples.
        first: place of the first sample that is measured.
        each: distance from one to the next; with 1 all are measured.

    Returns:
        One length for each of these records, in order.

    Raises:
        ImageError: an image is missing, unsafe or no picture.
        RecordError: a sample cannot be encoded, or is too long.
    """
    if data.keep:
        return [len(data[i].ids) for i in range(first, len(data), each)]
    ruler, source = Ruler(data.encoder), data.source
    return [
        ruler.length(record, image_sizes(source, record), source.where(record))
        for record in source.records[first::each]
    ]


class Ruler(Encoder):
    """An encoder that tells lengths alone.

    Args:
        encoder: whose samples are measured.
    """

    def __init__(self, encoder: Encoder) -> None:
        vars(self).update(vars(encoder))
        self.processor = SizesOnly(encoder.processor.tokenizer, encoder.processor.image_processor)

    def length(self, record: Record, sizes: Sequence[tuple[int, int]], where: str) -> int:
        """Length in tokens of what `encode` would give, answer included.

        Args:
            record: the record.
            sizes: width and height of its images.
            where: how error messages call the record's place.

        Returns:
            Number of tokens.

        Raises:
            RecordError: the text holds control tokens, the images do not fit, or the sample is too long.
        """
        layout = self.require(record, where)
        placed = [segment for segment in layout.user if segment.kind == "image"]
        pictures = [Blank(size) for size in sizes]
        try:
            grid = self.processor.encode_images([pictures[segment.image] for segment in placed])[1]
        except ValueError as error:  # the rule's own, for a picture that is a line
            raise RecordError(
                f"expected pictures that the model takes, got one that it refuses ({first_line(error)}), "
                f"at {where}; fix: replace the image or drop the row"
            ) from error
        slots = place_slots((*layout.user, *layout.answer), pictures, placed, grid, self.processor, where)
        prompt, answer = self._render(*expanded_slots(layout.user, layout.answer, slots))
        # A placeholder is a token of its own: each is counted as the visual tokens that it stands for.
        length = len(self._tokenize(prompt)) - len(placed) + self._visual_tokens(grid)
        length += len(self._tokenize(answer))
        self._require_room(length, where)
        return length


def image_sizes(source: Source, record: Record) -> list[tuple[int, int]]:
    """Width and height of a record's images; a source that does not know them has to open the images."""
    if isinstance(source, KnowsSizes):
        return source.sizes(record)
    return [image.size for image in source.images(record)]
