"""Samples whose visual features are at hand: their images are neither opened nor cut into patches."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from torch import Tensor

from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.record import Source


class KnownFeatures(Protocol):
    """Features of the records of a source, by place."""

    def grids(self, place: int) -> tuple[Tensor, Tensor]:
        """Patches (images, 3) of the prompt's pictures and of the references of a record."""
        ...

    def features(self, place: int) -> tuple[Tensor | None, Tensor | None]:
        """Features (F, N, D) of the prompt's pictures and of the references; None where there are none."""
        ...


def encode_record(
    encoder: Encoder,
    source: Source,
    place: int,
    known: KnownFeatures | None = None,
    with_answer: bool = True,
    where: str = "",
) -> EncodedSample:
    """Encode a record of a source, with its features where they are known and with patches elsewhere.

    Args:
        encoder: how it is encoded.
        source: the records and images.
        place: of the record.
        known: features of this source's records, encoded with or without answers as is asked for here.
        with_answer: False stops after the assistant's header.
        where: how error messages call the record's place; its id by default.

    Returns:
        The sample, without padding.

    Raises:
        RecordError: the record cannot be encoded.
        UserError: images or features cannot be read.
    """
    record = source.records[place]
    if known is None:
        return encoder.encode(record, source.images(record), with_answer, where)
    grid, beside = known.grids(place)
    sample = encoder.encode(record, None, with_answer, where, grid, beside)
    features, reference_features = known.features(place)
    return replace(sample, features=features, reference_features=reference_features)
