"""A source of records as a torch dataset of encoded samples."""

from __future__ import annotations

from torch.utils.data import Dataset

from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.known_features import KnownFeatures, encode_record
from latentvr.data.record import Source


class EncodedDataset(Dataset[EncodedSample]):
    """Encodes records when asked; with `keep`, each one once.

    Args:
        source: the records and images.
        encoder: how they are encoded.
        keep: hold encoded samples in memory.
        known: features of the records' images; None cuts images into patches.
    """

    def __init__(
        self, source: Source, encoder: Encoder, keep: bool = False, known: KnownFeatures | None = None
    ) -> None:
        self.source = source
        self.encoder = encoder
        self.keep = keep
        self.known = known
        self._kept: dict[int, EncodedSample] = {}

    def __len__(self) -> int:
        """Number of records."""
        return len(self.source.records)

    def of_stage(self, index: int) -> EncodedDataset:
        """The samples of the stage `index`: all, whichever it is."""
        del index
        return self

    def count(self, index: int) -> int:
        """Number of samples of the stage `index`."""
        return len(self.of_stage(index))

    def __getitem__(self, index: int) -> EncodedSample:
        """Encode record `index`."""
        if index in self._kept:
            return self._kept[index]
        sample = encode_record(self.encoder, self.source, index, self.known)
        if self.keep:
            self._kept[index] = sample
        return sample
