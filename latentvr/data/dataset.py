"""A source of records as a torch dataset of encoded samples."""

from __future__ import annotations

from torch.utils.data import Dataset

from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.record import Source


class EncodedDataset(Dataset[EncodedSample]):
    """Encodes records when asked; with `keep`, each one once.

    Args:
        source: the records and images.
        encoder: how they are encoded.
        keep: hold encoded samples in memory.
    """

    def __init__(self, source: Source, encoder: Encoder, keep: bool = False) -> None:
        self.source = source
        self.encoder = encoder
        self.keep = keep
        self._kept: dict[int, EncodedSample] = {}

    def __len__(self) -> int:
        """Number of records."""
        return len(self.source.records)

    def __getitem__(self, index: int) -> EncodedSample:
        """Encode record `index`."""
        if index in self._kept:
            return self._kept[index]
        record = self.source.records[index]
        sample = self.encoder.encode(record, self.source.images(record))
        if self.keep:
            self._kept[index] = sample
        return sample
