"""The prompts of a source, encoded a window at a time, so that memory holds a window and not the data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from latentvr.attention.roles import Role
from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.layout import Layout, NewToken, Segment
from latentvr.data.record import Record, Source
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel

#: Batches in a window; samples are sorted by length within it.
WINDOW = 8


class Prompts:
    """Records without their answers, images as features of the vision tower.

    Args:
        model: encodes the images.
        source: the records and images.
        encoder: how they are encoded.
        keep: hold every sample after its first use, features included; for repeated use of small sources.
    """

    def __init__(self, model: LatentModel, source: Source, encoder: Encoder, keep: bool = False) -> None:
        self.model = model
        self.source = source
        self.encoder = encoder
        self.keep = keep
        self._kept: dict[int, EncodedSample] = {}

    def windows(self, batch_size: int) -> Iterator[list[tuple[int, EncodedSample]]]:
        """Give all records in windows of some batches: place in the source, and sample."""
        size = WINDOW * batch_size
        for start in range(0, len(self.source.records), size):
            places = range(start, min(start + size, len(self.source.records)))
            samples = [self._encode(i) for i in places]
            cache_features(self.model, samples)
            if self.keep:
                self._kept.update(zip(places, samples, strict=True))
            yield list(zip(places, samples, strict=True))

    def _encode(self, place: int) -> EncodedSample:
        if place in self._kept:
            return self._kept[place]
        record = self.source.records[place]
        return self.encoder.encode(record, self.source.images(record), with_answer=False)


def encoder_for(model: LatentModel, max_length: int = 8192, drop_latents: bool = False) -> Encoder:
    """Encoder for a model; with `drop_latents`, whatever has the latent role is left out of the layout."""
    layout = model.reasoner.layout
    tokens = model.reasoner.tokens()
    return Encoder(
        model.processor,
        partial(without_latents, layout, tokens) if drop_latents else layout,
        tokens,
        model.backbone.positions,
        max_length,
    )


def without_latents(layout: Callable[[Record], Layout], tokens: Sequence[NewToken], record: Record) -> Layout:
    """A record's layout without latent tokens and slots and without images in the latents' place."""
    full = layout(record)
    latent = [token.text for token in tokens if token.role is Role.LATENT]
    return Layout(_without(full.user, latent), _without(full.answer, latent))


def _without(segments: Sequence[Segment], latent: Sequence[str]) -> tuple[Segment, ...]:
    """One turn of it."""
    out = []
    for segment in segments:
        if segment.kind == "slots" or (segment.kind == "image" and segment.role is Role.LATENT):
            continue
        text = segment.text
        if segment.kind == "tokens":
            for token in latent:
                text = text.replace(token, "")
        if segment.kind == "image" or text:
            out.append(segment if text == segment.text else replace(segment, text=text))
    return tuple(out)


def has_latents(model: LatentModel, source: Source) -> bool:
    """Tell whether the method has latents: in the first record's prompt, or in spans of its answers."""
    if model.reasoner.span() is not None:
        return True
    record = source.records[0]
    sample = encoder_for(model).encode(record, source.images(record), with_answer=False)
    return bool((sample.roles == Role.LATENT).any())
