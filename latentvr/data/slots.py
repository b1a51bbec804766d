"""Which visual tokens each latent slot of a sample refers to.

Shape letters: R references, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from latentvr.data.layout import Region, Segment
from latentvr.data.processor import Processor
from latentvr.data.regions import pixel_box, pooled, region_tokens
from latentvr.errors import RecordError


@dataclass(frozen=True)
class Slots:
    """The slots of one sample.

    Attributes:
        counts: number of slots of each "slots" segment, in order.
        pairs: slot number in the sample and visual token number in the sample (R, 2). Visual tokens of the
            prompt come first, then those of the references.
        pixel_values: patches of the references (P, values), or None: pictures that are encoded as targets and
            stand in no prompt.
        grid: patches per reference, (references, 3).
    """

    counts: list[int]
    pairs: Tensor
    pixel_values: Tensor | None
    grid: Tensor


def place_slots(
    segments: Sequence[Segment],
    images: Sequence[Image.Image],
    placed: Sequence[Segment],
    grid: Tensor,
    processor: Processor,
    where: str,
    beside_grid: Tensor | None = None,
) -> Slots:
    """Count the slots of a sample and point each at its visual tokens.

    Args:
        segments: of the turns that are encoded.
        images: of the record, in RGB.
        placed: the image segments of the prompt, in order.
        grid: patches per placed image, (images, 3).
        processor: cuts references into patches.
        where: how error messages call the sample.
        beside_grid: patches per reference (references, 3), where their features are at hand: no picture is
            cut into patches then.

    Returns:
        The slots; none where the layout has no "slots" segment.

    Raises:
        RecordError: a segment has no region, or one of an image that does not stand in the prompt.
    """
    regions = regions_of(segments, where)
    beside = _references(regions)
    pixel_values = None
    if beside_grid is None:
        pictures = reference_pictures(regions, images, where)
        pixel_values, beside_grid = (
            processor.encode_images(pictures) if pictures else (None, torch.zeros(0, 3, dtype=torch.long))
        )
    grids = torch.cat([grid, beside_grid])
    starts = [0]
    for row in grids:
        starts.append(starts[-1] + processor.visual_tokens(row))
    counts: list[int] = []
    pairs: list[tuple[int, int]] = []
    for region in regions:
        key = _reference(region)
        place = _placed(region, placed, where) if key is None else len(placed) + beside.index(key)
        corners = (0.0, 0.0, 1.0, 1.0) if region.source == "crop" else region.box.box
        tokens = region_tokens(corners, grids[place], int(processor.image_processor.merge_size))
        runs = pooled([starts[place] + token for token in tokens], region.pool)
        pairs += [(sum(counts) + slot, token) for slot, token in runs]
        counts.append(runs[-1][0] + 1)
    return Slots(counts, torch.tensor(pairs, dtype=torch.long).reshape(-1, 2), pixel_values, beside_grid)


def expanded_slots(
    user: Sequence[Segment], answer: Sequence[Segment], slots: Slots
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Write each slot token as often as its segment has slots.

    Args:
        user: the user's turn.
        answer: the assistant's turn.
        slots: of both turns.

    Returns:
        Both turns without "slots" segments.
    """
    counts = iter(slots.counts)
    written = [
        replace(segment, kind="tokens", text=segment.text * next(counts))
        if segment.kind == "slots"
        else segment
        for segment in (*user, *answer)
    ]
    return tuple(written[: len(user)]), tuple(written[len(user) :])


#: Image processors refuse pictures that are this many times as long as wide.
THINNEST = 200
Key = tuple[int, tuple[float, float, float, float] | None]


def regions_of(segments: Sequence[Segment], where: str) -> list[Region]:
    """The regions of "slots" segments, in order.

    Args:
        segments: of the turns that are encoded.
        where: how error messages call the sample.

    Returns:
        One region for each such segment.

    Raises:
        RecordError: a segment has none.
    """
    regions = []
    for segment in segments:
        if segment.kind == "slots" and segment.region is None:
            raise RecordError(
                f"expected bboxes of the regions that latent slots stand for, got none, at {where}; "
                'fix: add "bboxes" to the record, or set reasoner.boxless=plain where the method has it'
            )
        if segment.kind == "slots" and segment.region is not None:
            regions.append(segment.region)
    return regions


def reference_pictures(
    regions: Sequence[Region], images: Sequence[Image.Image], where: str
) -> list[Image.Image]:
    """The pictures beside the prompt that regions need.

    Args:
        regions: of the sample's slots, in order.
        images: of the record, in RGB.
        where: how error messages call the sample.

    Returns:
        Each picture once, in the order of its first region.

    Raises:
        RecordError: a part of an image is too thin a strip.
    """
    return [_picture(images, key, where) for key in _references(regions)]


def _references(regions: Sequence[Region]) -> list[Key]:
    """Names of the pictures beside the prompt."""
    return list(dict.fromkeys(key for region in regions if (key := _reference(region)) is not None))


def _reference(region: Region) -> Key | None:
    """Name the picture beside the prompt that a region needs: an image, whole or the part in a box."""
    if region.source == "input":
        return None
    return region.box.image, region.box.box if region.source == "crop" else None


def _picture(images: Sequence[Image.Image], key: Key, where: str) -> Image.Image:
    image, box = images[key[0]], key[1]
    if box is None:
        return image
    part = image.crop(pixel_box(box, image.size))
    if max(part.size) >= THINNEST * min(part.size):
        raise RecordError(
            f"expected a region less than {THINNEST} times as long as wide, got {part.width} x {part.height} "
            f"pixels, at {where}; fix: widen its box, or take its tokens from the whole image"
        )
    return part


def _placed(region: Region, placed: Sequence[Segment], where: str) -> int:
    """Place of a region's image among the images of the prompt."""
    for place, segment in enumerate(placed):
        if segment.image == region.box.image:
            return place
    raise RecordError(
        f"expected a box of an image of the prompt, got image {region.box.image}, at {where}; "
        "fix: count images from 0"
    )
