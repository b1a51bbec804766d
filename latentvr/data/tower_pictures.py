"""The pictures of a sample that go through the vision tower, as they stand there."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from latentvr.data.layout import Layout, Segment
from latentvr.data.regions import painted_over
from latentvr.data.slots import reference_pictures, regions_of


def placed_pictures(images: Sequence[Image.Image], placed: Sequence[Segment]) -> list[Image.Image]:
    """The pictures of image segments, with what is hidden painted over.

    Args:
        images: of the record, in RGB.
        placed: the image segments of a prompt, in order.

    Returns:
        One picture for each segment; an image may come twice.
    """
    return [painted_over(images[segment.image], segment.hidden) for segment in placed]


def tower_pictures(
    layout: Layout, images: Sequence[Image.Image], with_answer: bool, where: str
) -> tuple[list[Image.Image], list[Image.Image]]:
    """All pictures of a sample.

    Args:
        layout: of the sample.
        images: of the record, in RGB.
        with_answer: whether the answer is encoded too.
        where: how error messages call the sample.

    Returns:
        Those of the prompt, and the references of slots, in the order in which they are encoded.

    Raises:
        RecordError: slots have no region, or a reference is too thin a strip.
    """
    placed = [segment for segment in layout.user if segment.kind == "image"]
    regions = regions_of((*layout.user, *(layout.answer if with_answer else ())), where)
    return placed_pictures(images, placed), reference_pictures(regions, images, where)
