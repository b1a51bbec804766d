"""The prompts of a source, encoded a window at a time, so that memory holds a window and not the data set."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from functools import partial

from latentvr.attention.roles import Role
from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.known_features import KnownFeatures, encode_record
from latentvr.data.layout import Layout, Segment
from latentvr.data.record import Record, Source
from latentvr.models.features import cache_features, lent
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
        lender: prompts of the same source that were used and kept: their features are not computed anew.
        known: features of the records' images, answers left out; None encodes them.
    """

    def __init__(
        self,
        model: LatentModel,
        source: Source,
        encoder: Encoder,
        keep: bool = False,
        lender: Prompts | None = None,
        known: KnownFeatures | None = None,
    ) -> None:
        self.model = model
        self.source = source
        self.encoder = encoder
        self.keep = keep
        self.lender = lender
        self.known = known
        self.kept: dict[int, EncodedSample] = {}

    def windows(
        self, batch_size: int, done: Container[int] = ()
    ) -> Iterator[list[tuple[int, EncodedSample]]]:
        """Give all records in windows of some batches: place in the source, and sample.

        A window whose places are all in `done` is left out.
        """
        size = WINDOW * batch_size
        for start in range(0, len(self.source.records), size):
            places = range(start, min(start + size, len(self.source.records)))
            if all(i in done for i in places):
                continue
            samples = [self._encode(i) for i in places]
            cache_features(self.model, samples)
            if self.keep:
                self.kept.update(zip(places, samples, strict=True))
            yield list(zip(places, samples, strict=True))

    def _encode(self, place: int) -> EncodedSample:
        if place in self.kept:
            return self.kept[place]
        record = self.source.records[place]
        found = None if self.lender is None else lent(self.model, self.lender.kept[place])
        if found is None:
            return encode_record(self.encoder, self.source, place, self.known, with_answer=False)
        features, grid = found
        sample = self.encoder.encode(record, self.source.images(record), with_answer=False, grid=grid)
        return replace(sample, features=features)


def encoder_for(
    model: LatentModel, max_length: int = 8192, drop_latents: bool = False, drop_markers: bool = False
) -> Encoder:
    """Encoder for a model.

    Args:
        model: its method gives the layout.
        max_length: longest sample in tokens.
        drop_latents: leave whatever has the latent role out of the layout.
        drop_markers: leave the method's other new tokens out too.

    Returns:
        The encoder.
    """
    layout = model.reasoner.layout
    tokens = model.reasoner.tokens()
    gone = [token.text for token in tokens if drop_markers or token.role is Role.LATENT]
    return Encoder(
        model.processor,
        partial(without_latents, layout, gone) if drop_latents or drop_markers else layout,
        tokens,
        model.backbone.positions,
        max_length,
    )


def without_latents(layout: Callable[[Record], Layout], gone: Sequence[str], record: Record) -> Layout:
    """A record's layout without some new tokens, without slots and without images in the latents' place."""
    full = layout(record)
    return Layout(_without(full.user, gone), _without(full.answer, gone))


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
