"""Which prompts a round of rollouts takes, and the prompts themselves.

The order is a pure function of seed and round: restarts and the number of processes do not change it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.known_features import KnownFeatures, encode_record
from latentvr.data.record import Record, Source
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel

#: Prompts whose patches are in memory together while all are encoded.
ENCODED_AT_ONCE = 64


class PromptOrder:
    """All prompts in passes, each a fresh permutation.

    Args:
        size: number of prompts.
        seed: of the run.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._pass = -1
        self._order: list[int] = []

    def __getitem__(self, position: int) -> int:
        """Place in the source of the prompt at a position, which counts on through the passes."""
        number, within = divmod(position, self.size)
        if number != self._pass:
            generator = torch.Generator().manual_seed(self.seed * 1_000_000 + number)
            self._pass, self._order = number, torch.randperm(self.size, generator=generator).tolist()
        return self._order[within]


class RoundPrompts:
    """Encodes prompts without their answers.

    Args:
        model: encodes the images, unless its vision tower trains.
        source: records and images.
        encoder: how they are encoded.
        keep: encode all prompts at once and hold them in memory, visual features included.
        known: features of the records' images, answers left out; None encodes them.
    """

    def __init__(
        self,
        model: LatentModel,
        source: Source,
        encoder: Encoder,
        keep: bool,
        known: KnownFeatures | None = None,
    ) -> None:
        self.model = model
        self.source = source
        self.encoder = encoder
        self.known = known
        self._kept: dict[int, EncodedSample] = {}
        if keep:
            # In fixed parts: the last bits of features may depend on what goes through the tower with them.
            for start in range(0, len(source.records), ENCODED_AT_ONCE):
                places = range(start, min(start + ENCODED_AT_ONCE, len(source.records)))
                self._kept.update(zip(places, self.samples(places), strict=True))

    def records(self, places: Sequence[int]) -> list[Record]:
        """The records at some places."""
        return [self.source.records[place] for place in places]

    def samples(self, places: Sequence[int]) -> list[EncodedSample]:
        """Encode the prompts at some places; the same place gives the same object."""
        found = {place: self._kept.get(place) or self._encode(place) for place in dict.fromkeys(places)}
        tower = self.model.backbone.vision_tower
        if not any(parameter.requires_grad for parameter in tower.parameters()):
            cache_features(self.model, list(found.values()))
        return [found[place] for place in places]

    def _encode(self, place: int) -> EncodedSample:
        where = self.source.where(self.source.records[place])
        return encode_record(self.encoder, self.source, place, self.known, with_answer=False, where=where)
