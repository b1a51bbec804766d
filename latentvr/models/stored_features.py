"""The features of all pictures of a source, from disk: encoded once, and then found by later runs.

Every process looks at a share of the records, every process encodes a share of the pictures that are missing,
and all wait for each other. A picture goes through the tower alone, so that its features depend on nothing
but itself, whichever run or process came by first.

Shape letters: F feature levels, N visual tokens, D width.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from latentvr.data.encode import Encoder
from latentvr.data.record import Source
from latentvr.data.tower_pictures import tower_pictures
from latentvr.errors import UserError
from latentvr.models.feature_store import DamagedFeatures, FeatureStore, Grid, tower_digest
from latentvr.models.features import encoding
from latentvr.models.latent_model import LatentModel
from latentvr.models.shared_work import gathered, rank, shared, together

log = logging.getLogger(__name__)
#: Names of a record's pictures: those of its prompt, and the references of its slots.
_Names = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class StoredFeatures:
    """Features of the records of a source, by place.

    Attributes:
        store: where they are.
        names: names of the pictures of each record.
        known: patches of each picture.
        encoded: number of pictures that were missing and are there now.
    """

    store: FeatureStore
    names: Sequence[_Names]
    known: dict[str, Grid]
    encoded: int

    def grids(self, place: int) -> tuple[Tensor, Tensor]:
        """Patches (images, 3) of the prompt's pictures and of the references of a record."""
        prompt, beside = (
            torch.tensor([self.known[name] for name in part], dtype=torch.long).view(-1, 3)
            for part in self.names[place]
        )
        return prompt, beside

    def features(self, place: int) -> tuple[Tensor | None, Tensor | None]:
        """Features (F, N, D) of the prompt's pictures and of the references of a record.

        Args:
            place: of the record in its source.

        Returns:
            Each of them, None where there are no pictures.

        Raises:
            DamagedFeatures: a file is gone, or is damaged.
        """
        prompt, beside = (
            torch.cat([self.store.read(name) for name in part], 1) if part else None
            for part in self.names[place]
        )
        return prompt, beside


def store_features(
    model: LatentModel,
    source: Source,
    encoder: Encoder,
    folder: Path,
    with_answer: bool = True,
    workers: int = 0,
) -> StoredFeatures:
    """Find the features of all pictures of a source in a folder, and encode those that are missing.

    Args:
        model: its frozen vision tower encodes; put into evaluation mode.
        source: the records and images.
        encoder: says which pictures a record has.
        folder: of all towers.
        with_answer: whether answers are encoded too, whose slots may need pictures of their own.
        workers: processes that open images.

    Returns:
        The features.

    Raises:
        ImageError: an image is missing, unsafe or no picture.
        RecordError: a record cannot be encoded.
        SaveError: a file cannot be written.
        UserError: the folder cannot be written, or processes on other machines wrote into another one.
    """
    began = time.monotonic()
    processor = model.processor
    store = FeatureStore(
        folder,
        tower_digest(model.backbone, processor),
        int(processor.image_processor.merge_size),
        model.backbone.width,
        next(model.backbone.vision_tower.parameters()).dtype,
    )
    together(store.require_writable)
    places = _Places(store, source, encoder, with_answer)
    names, known, missing = _seen(places, workers)
    _encode(model, store, _Missing(places, missing), workers)
    new = [name for _, wanted in missing for name in wanted]
    known.update(together(lambda: {name: _present(store, name) for name in new}))
    together(partial(_require_files, store, known))
    if rank() == 0:
        log.info(
            "features: %d pictures found and %d encoded in %.0f s; %s holds %.1f MiB",
            len(known) - len(new), len(new), time.monotonic() - began, store.folder, store.size() / 2**20,
        )  # fmt: skip
    return StoredFeatures(store, names, known, len(new))


class _Places(Dataset[Any]):
    """Names of each record's pictures, and the grids of those that are stored.

    All of it is plain numbers and text: a tensor from a loader process holds a file descriptor as long as it
    lives, and these live as long as the run.
    """

    def __init__(self, store: FeatureStore, source: Source, encoder: Encoder, with_answer: bool) -> None:
        self.store = store
        self.source = source
        self.encoder = encoder
        self.with_answer = with_answer

    def __len__(self) -> int:
        return len(self.source.records)

    def pictures(self, place: int) -> tuple[list[Image.Image], list[Image.Image]]:
        """The record's pictures themselves: those of the prompt, and the references."""
        record = self.source.records[place]
        where = self.source.where(record)
        layout = self.encoder.require(record, where, self.with_answer)
        return tower_pictures(layout, self.source.images(record), self.with_answer, where)

    def __getitem__(self, place: int) -> tuple[_Names, dict[str, Grid]]:
        prompt, beside = (tuple(map(self.store.name, part)) for part in self.pictures(place))
        grids = {name: self._grid(name) for name in (*prompt, *beside)}
        return (prompt, beside), {name: grid for name, grid in grids.items() if grid is not None}

    def _grid(self, name: str) -> Grid | None:
        try:
            return self.store.grid(name)
        except DamagedFeatures as error:
            log.warning("%s; the image is encoded again", str(error).partition("; fix: ")[0])
            return None


class _Missing(Dataset[Any]):
    """Names, patches and grids of the pictures that are missing, record by record."""

    def __init__(self, places: _Places, wanted: Sequence[tuple[int, list[str]]]) -> None:
        self.places = places
        self.wanted = wanted

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, number: int) -> list[tuple[str, Tensor, Tensor]]:
        place, names = self.wanted[number]
        prompt, beside = self.places.pictures(place)
        found = {self.places.store.name(picture): picture for picture in (*prompt, *beside)}
        return [(name, *self.places.encoder.processor.encode_images([found[name]])) for name in names]


def _seen(places: _Places, workers: int) -> tuple[list[_Names], dict[str, Grid], list[tuple[int, list[str]]]]:
    """Names at all places, grids of what is stored, and places with those names that no earlier one has."""
    parts = gathered(shared(places, len(places), workers, lambda item: item, "looked at"))
    seen = [parts[place % len(parts)][place // len(parts)] for place in range(len(places))]
    known: dict[str, Grid] = {}
    for _, grids in seen:
        known.update(grids)
    missing, taken = [], set(known)
    for place, ((prompt, beside), _) in enumerate(seen):
        new = [name for name in dict.fromkeys((*prompt, *beside)) if name not in taken]
        taken.update(new)
        if new:
            missing.append((place, new))
    return [names for names, _ in seen], known, missing


@torch.no_grad()
def _encode(model: LatentModel, store: FeatureStore, missing: _Missing, workers: int) -> None:
    """Encode and store this process's share of the missing pictures, and wait for the others."""
    model.eval()
    device = model.backbone.device

    def stored(pictures: list[tuple[str, Tensor, Tensor]]) -> None:
        for name, values, grid in pictures:
            with encoding(model, grid):
                features_FND = model.backbone.encode_images(values.to(device), grid.to(device)).cpu()
            store.write(name, features_FND, grid[0])

    shared(missing, len(missing), workers, stored, "records with new pictures encoded")


def _present(store: FeatureStore, name: str) -> Grid:
    """The grid of a picture that has just been stored."""
    grid = store.grid(name)
    if grid is None:
        raise _not_shared(store, name)
    return grid


def _require_files(store: FeatureStore, names: Iterable[str]) -> None:
    """What one process found or wrote, all have to find."""
    for name in names:
        if not store.file(name).exists():
            raise _not_shared(store, name)


def _not_shared(store: FeatureStore, name: str) -> UserError:
    return UserError(
        f"expected the features that other processes found or wrote, got no {name[:16]}, at "
        f"{str(store.folder)!r}; fix: set data.feature_cache_dir to a folder that all machines share"
    )
