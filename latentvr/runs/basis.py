"""A PCA basis of visual embeddings, in one pass over a recipe's training images (for arXiv 2605.12374).

Shape letters: N visual tokens, P patches, D width, K components.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from latentvr.config.schema import Recipe
from latentvr.data.processor import Processor
from latentvr.data.record import Record, Source
from latentvr.data.regions import region_tokens
from latentvr.errors import RecipeError, RecordError
from latentvr.models.backbone import Backbone
from latentvr.models.device import choose_device
from latentvr.models.features import PATCHES_AT_ONCE
from latentvr.models.load import family, load_stock
from latentvr.runs.folder import fingerprint
from latentvr.runs.sources import open_split
from latentvr.trainers.writing import saved_or_told

log = logging.getLogger(__name__)
#: Records between lines in the log.
LOG_EVERY = 1000


@dataclass(frozen=True)
class Basis:
    """What was written.

    Attributes:
        share: explained share of the variance.
        tokens: number of visual tokens behind it.
        width: D.
    """

    share: float
    tokens: int
    width: int


class Moments:
    """Count, mean and scatter of vectors that come in parts, in float64.

    Parts are merged by their means (Chan, Golub and LeVeque 1979): a large common mean costs no digits.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.scatter = torch.zeros(width, width, dtype=torch.float64)

    def add(self, vectors_ND: Tensor) -> None:
        """Add vectors (N, D)."""
        if not len(vectors_ND):
            return
        part = vectors_ND.double().cpu()
        total = self.count + len(part)
        apart = part.mean(0) - self.mean
        centred = part - part.mean(0)
        self.scatter += centred.T @ centred + torch.outer(apart, apart) * (self.count * len(part) / total)
        self.mean += apart * (len(part) / total)
        self.count = total

    def components(self, k: int) -> tuple[Tensor, float]:
        """The directions of largest variance.

        Args:
            k: how many.

        Returns:
            Orthonormal columns (D, K), largest variance first, the largest entry of each positive; and their
            share of all variance.

        Raises:
            RecordError: the vectors are all the same.
        """
        values, vectors = torch.linalg.eigh(self.scatter)
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        if float(values.sum()) == 0:
            raise RecordError(
                f"expected visual tokens that differ, got {self.count} equal ones, at data.train; "
                "fix: give other images"
            )
        chosen = vectors[:, :k]
        largest = chosen.gather(0, chosen.abs().argmax(0, keepdim=True))
        return chosen * largest.sign(), float(values[:k].sum() / values.sum())


def write_basis(recipe: Recipe, components: int, out: Path, regions: bool = False) -> Basis:
    """Write a PCA basis of the visual embeddings, after the projector, of the training images.

    An image that several records show counts as often. The file holds `basis` (D, K), `mean` (D) and, as JSON
    in the metadata `latentvr`, the explained share, the model and the data.

    Args:
        recipe: gives model and data; its method is not built.
        components: K.
        out: new file.
        regions: take those visual tokens alone that a record's regions cover, each once.

    Returns:
        The explained share, and the sizes.

    Raises:
        RecipeError: the file exists, or K does not fit the model.
        RecordError: there are too few visual tokens, or no regions.
        SaveError: the system refused the write.
    """
    if out.exists():
        raise RecipeError(
            f"expected a new file, got one that exists, at {str(out)!r}; fix: choose another --out"
        )
    source = open_split(recipe.data, "train")
    stock, processor = load_stock(recipe.model)
    stock = stock.to(choose_device(recipe.train.device)).eval()
    backbone = family(stock.config.model_type, recipe.model.path)(stock)
    if components > backbone.width:
        raise RecipeError(
            f"expected at most {backbone.width} components, the model's width, got {components}, "
            "at --components; fix: ask for fewer"
        )
    moments = Moments(backbone.width)
    for tokens_ND in _visual_tokens(source, backbone, processor, regions):
        moments.add(tokens_ND)
    if moments.count <= components:
        raise RecordError(
            f"expected more than {components} visual tokens for as many components, got {moments.count}, "
            f"at data.train{' with --regions' if regions else ''}; "
            "fix: give more images, or ask for fewer components"
        )
    basis_DK, share = moments.components(components)
    tensors = {"basis": basis_DK.float().contiguous(), "mean": moments.mean.float()}
    facts = {
        "explained_variance": share,
        "model": recipe.model.path,
        "revision": recipe.model.revision,
        "data_sha256": fingerprint(source),
        "visual_tokens": moments.count,
        "of": "regions" if regions else "images",
    }
    _write(out, tensors, facts)
    return Basis(share, moments.count, backbone.width)


def _write(out: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    aside = out.with_name(f"{out.name}.partial")
    with saved_or_told(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        # One entry: safetensors writes several in no fixed order, and equal files should be equal to the bit.
        save_file(tensors, aside, metadata={"latentvr": json.dumps(facts)})
        aside.replace(out)


@torch.no_grad()
def _visual_tokens(
    source: Source, backbone: Backbone, processor: Processor, regions: bool
) -> Iterator[Tensor]:
    """Embeddings (N, D) of images, several at a time."""
    pictures: list[tuple[Tensor, Tensor, list[int] | None]] = []
    waiting = 0
    for number, record in enumerate(source.records, start=1):
        for picture in _pictures(source, record, processor, regions):
            pictures.append(picture)
            waiting += len(picture[0])
            if waiting >= PATCHES_AT_ONCE:
                yield _encoded(pictures, backbone, processor)
                pictures, waiting = [], 0
        if number % LOG_EVERY == 0:
            log.info("%d of %d records", number, len(source.records))
    if pictures:
        yield _encoded(pictures, backbone, processor)


def _pictures(
    source: Source, record: Record, processor: Processor, regions: bool
) -> Iterator[tuple[Tensor, Tensor, list[int] | None]]:
    """Patches (P, values), grid (3,) and the tokens to keep, None for all, of a record's images."""
    merge = int(processor.image_processor.merge_size)
    for place, image in enumerate(source.images(record)):
        boxes = [box.box for box in record.bboxes if box.image == place]
        if boxes or not regions:
            patches, grid = processor.encode_images([image])
            covered = {token for box in boxes for token in region_tokens(box, grid[0], merge)}
            yield patches, grid[0], sorted(covered) if regions else None


def _encoded(
    pictures: list[tuple[Tensor, Tensor, list[int] | None]], backbone: Backbone, processor: Processor
) -> Tensor:
    patches = torch.cat([values for values, _, _ in pictures]).to(backbone.device)
    grids = torch.stack([grid for _, grid, _ in pictures])
    features_ND: Any = backbone.encode_images(patches, grids.to(backbone.device))[0]
    counts = [processor.visual_tokens(grid) for grid in grids]
    chosen = zip(torch.split(features_ND, counts), (tokens for _, _, tokens in pictures), strict=True)
    return torch.cat([part if tokens is None else part[tokens] for part, tokens in chosen])
