"""The features of all pictures of a source, from disk: encoded once, and then found by later runs.

Every process looks at a share of the records, every process encodes a share of the pictures that are missing,
and all wait for each other. A picture goes through the tower alone, so that its features depend on nothing
but itself, whichever run or process came by first.

Shape letters: F feature levels, N visual tokens, D width.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset

from latentvr.data.encode import Encoder
from latentvr.data.record import Source
from latentvr.data.tower_pictures import tower_pictures
from latentvr.errors import UserError
from latentvr.models.feature_store import DamagedFeatures, FeatureStore, tower_digest
from latentvr.models.features import encoding
from latentvr.models.latent_model import LatentModel

log = logging.getLogger(__name__)
#: Items after which processes wait for each other, so that none is far behind at the end.
_IN_STEP = 256
#: Seconds between two lines about progress.
_EVERY = 30.0
_Item = TypeVar("_Item")
#: Names of a record's pictures: those of its prompt, and the references of its slots.
_Names = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class StoredFeatures:
    """Features of the records of a source, by place.

    Attributes:
        store: where they are.
        names: names of the pictures of each record.
        known: patches (3,) of each picture.
        encoded: number of pictures that were missing and are there now.
    """

    store: FeatureStore
    names: Sequence[_Names]
    known: dict[str, Tensor]
    encoded: int

    def grids(self, place: int) -> tuple[Tensor, Tensor]:
        """Patches (images, 3) of the prompt's pictures and of the references of a record."""
        prompt, beside = (
            torch.stack([self.known[name] for name in part]) if part else torch.zeros(0, 3, dtype=torch.long)
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
            torch.cat([self.store.read(name)[0] for name in part], 1) if part else None
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
        SaveError: the folder cannot be written.
        UserError: processes on other machines wrote into a folder that is not this one.
    """
    began = time.monotonic()
    processor = model.processor
    store = FeatureStore(
        folder, tower_digest(model.backbone, processor), int(processor.image_processor.merge_size)
    )
    places = _Places(store, source, encoder, with_answer)
    names, known, missing = _seen(places, workers)
    _encode(model, store, _Missing(places, missing), workers)
    new = [name for _, wanted in missing for name in wanted]
    known.update({name: _present(store, name) for name in new})
    _require_files(store, known)
    if _rank() == 0:
        log.info(
            "features: %d pictures found and %d encoded in %.0f s; %s holds %.1f MiB",
            len(known) - len(new), len(new), time.monotonic() - began, store.folder, store.size() / 2**20,
        )  # fmt: skip
    return StoredFeatures(store, names, known, len(new))


class _Places(Dataset[Any]):
    """Names of each record's pictures, and the grids of those that are stored; errors come as values."""

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

    def __getitem__(self, place: int) -> tuple[_Names, dict[str, Tensor]] | UserError:
        try:
            prompt, beside = (tuple(map(self.store.name, part)) for part in self.pictures(place))
        except UserError as error:
            return error
        grids = {name: self._grid(name) for name in (*prompt, *beside)}
        return (prompt, beside), {name: grid for name, grid in grids.items() if grid is not None}

    def _grid(self, name: str) -> Tensor | None:
        try:
            return self.store.grid(name)
        except DamagedFeatures as error:
            log.warning("%s; it is encoded again now", error)
            return None


class _Missing(Dataset[Any]):
    """Names, patches and grids of the pictures that are missing, record by record."""

    def __init__(self, places: _Places, wanted: Sequence[tuple[int, list[str]]]) -> None:
        self.places = places
        self.wanted = wanted

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, number: int) -> list[tuple[str, Tensor, Tensor]] | UserError:
        place, names = self.wanted[number]
        try:
            prompt, beside = self.places.pictures(place)
        except UserError as error:
            return error
        found = {self.places.store.name(picture): picture for picture in (*prompt, *beside)}
        return [(name, *self.places.encoder.processor.encode_images([found[name]])) for name in names]


def _seen(
    places: _Places, workers: int
) -> tuple[list[_Names], dict[str, Tensor], list[tuple[int, list[str]]]]:
    """Names at all places, grids of what is stored, and places with those names that no earlier one has."""
    own = list(_shared(places, len(places), workers, "looked at"))
    parts: list[Any] = [own]
    if distributed.is_initialized():
        parts = [None] * distributed.get_world_size()
        distributed.all_gather_object(parts, own)
    seen = [parts[place % len(parts)][place // len(parts)] for place in range(len(places))]
    known: dict[str, Tensor] = {}
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
    for pictures in _shared(missing, len(missing), workers, "records with new pictures encoded"):
        for name, values, grid in pictures:
            with encoding(model, grid):
                features_FND = model.backbone.encode_images(values.to(device), grid.to(device)).cpu()
            store.write(name, features_FND, grid[0])
    if distributed.is_initialized():
        distributed.barrier()


def _present(store: FeatureStore, name: str) -> Tensor:
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


def _shared(items: Dataset[Any], size: int, workers: int, verb: str) -> Iterator[Any]:
    """This process's share of some items, in step with the others."""
    ranks = distributed.get_world_size() if distributed.is_initialized() else 1
    own: DataLoader[Any] = DataLoader(
        items,
        batch_size=None,
        sampler=range(_rank(), size, ranks),
        num_workers=workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # the loader draws a seed, which must not come from the run's
    )
    told = time.monotonic()
    for number, item in enumerate(_raised(own), 1):
        yield item
        # All have the first size // ranks items, and some have one more.
        if number % _IN_STEP == 0 and number <= size // ranks and ranks > 1:
            distributed.barrier()
        if time.monotonic() - told > _EVERY and _rank() == 0:
            told = time.monotonic()
            log.info("features: %d of %d %s", min(number * ranks, size), size, verb)


def _raised(items: Iterable[_Item | UserError]) -> Iterator[_Item]:
    """Items, errors raised: a loader process would give them a traceback for a message."""
    for item in items:
        if isinstance(item, UserError):
            raise item
        yield item


def _as_it_is(item: Any) -> Any:
    return item


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0
