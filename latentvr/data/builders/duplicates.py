"""Near-duplicates: two pictures are the same when their perceptual hashes and their pixels both say so.

The papers name the measures (CLIP embeddings, a perceptual hash, SSIM) and no threshold. A duplicate must
pass every measure that is in use, so their order changes nothing but the time: the hash, which is cheap,
comes first, and CLIP, which is dear, is asked about nothing but what is left.

What the default thresholds find, measured on 18 photographs and textures: every copy recompressed as JPEG of
quality 30 and up, halved in size, brightened by a tenth or turned grey; a copy cropped by 2 % of its sides in
3 of 18 as raw pixels and in 17 as blurred ones, one cropped by 5 % in none and 1; no mirrored copy. Of 41,328
pairs of other places in the same pictures none is taken for a duplicate, nor the two views of a stereo pair.

Marks on the reference lower its SSIM, so that tasks whose references bear marks have a lower `min_ssim`.
Measured on 261 pictures and crops of 21 photographs and textures, with marks drawn and saved as JPEG of
quality 85: of those with two boxes 60 % are found at 0.95 and 88 % at 0.85 (raw or blurred), of those with
four circles 75 % at 0.95 and 93 % at 0.90, of those with one 93 % at both (raw); the hash misses the rest.
No other photograph is taken for a copy: with a hash that near none has an SSIM above 0.68 raw or 0.74
blurred. Of the crops, three pairs that overlap for the greater part are taken for one picture when blurred.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from latentvr.data.builders.builder import Rejection
from latentvr.data.builders.clip import Clip
from latentvr.data.builders.rules import Rules, rule
from latentvr.errors import UserError

#: Side of the grey pictures that SSIM compares, in pixels.
SIDE = 64
#: A picture is blurred at this side, by a Gaussian of this radius, in pixels.
BLURRED_SIDE, BLUR_RADIUS = 256, 4
_BATCH = 32


@dataclass(frozen=True)
class MatchRules(Rules):
    """Parameters of a builder that looks for near-duplicates."""

    dedup: str = rule("on", "paper", "on: leave near-duplicates of test pictures out", one_of=("on", "off"))
    clip: str = rule("", "not in the paper", "folder of a CLIP model that must agree; empty: without CLIP")
    max_hash_distance: int = rule(
        8, "not in the paper", "largest distance of a duplicate's perceptual hash, in bits of 64", 0, 64
    )
    min_ssim: float = rule(
        0.95, "not in the paper", f"smallest SSIM of a duplicate, on {SIDE} x {SIDE} grey pixels", -1, 1
    )
    min_clip: float = rule(0.95, "not in the paper", "smallest cosine of a duplicate's CLIP embedding", -1, 1)


@dataclass(frozen=True)
class DuplicateRules(MatchRules):
    """Parameters of a builder that looks for near-duplicates of BLINK's pictures."""

    blink: str = rule("", "not in the paper", "folder or parquet file of BLINK, whose pictures are left out")


@dataclass(frozen=True)
class Match:
    """What a picture, or a pair of them, is a duplicate of, and by which figures.

    Attributes:
        reference: name of the reference picture, or of the pair of them.
        hash_distance: of the perceptual hashes, in bits of 64; the larger one of a pair.
        ssim: structural similarity; the smaller one of a pair.
        clip: cosine of the embeddings, None without CLIP; the smaller one of a pair.
        by: "raw" or "blurred" pixels; of a pair, "aligned" or "swapped" after it.
    """

    reference: str
    hash_distance: int
    ssim: float
    clip: float | None
    by: str = "raw"

    def to_detail(self) -> dict[str, Any]:
        """Give the match as JSON values, for the manifest."""
        shown = asdict(self)
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in shown.items()}


class Duplicates:
    """Finds near-duplicates of reference pictures.

    Args:
        references: name and RGB picture; a pair is called "name#0" and "name#1". They are read once and
            not kept.
        rules: thresholds.
        also_blurred: compare as blurred grey pictures too; a match either way is a duplicate.

    Raises:
        UserError: `imagehash` or `scikit-image` is not installed, or the CLIP folder cannot be used.
    """

    def __init__(
        self, references: Iterable[tuple[str, Image.Image]], rules: MatchRules, also_blurred: bool = False
    ) -> None:
        _require_packages()
        self._rules = rules
        self._clip = Clip(Path(rules.clip)) if rules.clip else None
        self._names: list[str] = []
        self._views = {"raw": _View()} | ({"blurred": _View()} if also_blurred else {})
        for batch in _batches(references):
            self._names += [name for name, _ in batch]
            for by, view in self._views.items():
                view.add([_seen(picture, by) for _, picture in batch], self._clip)
        self._places = {name: place for place, name in enumerate(self._names)}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the references, in their order."""
        return tuple(self._names)

    def of(self, picture: Image.Image) -> Match | None:
        """Find the reference that a picture is a duplicate of.

        Args:
            picture: RGB, of any size.

        Returns:
            The match of the smallest hash distance, then of the largest SSIM; None if there is none.
        """
        found = [match for by in self._views for match in self._matches(picture, by).values()]
        return min(found, key=_rank, default=None)

    def pair(self, source: Image.Image, target: Image.Image) -> Match | None:
        """Find the pair of references that a pair of pictures is a duplicate of, aligned or swapped.

        Args:
            source: first RGB picture.
            target: second RGB picture.

        Returns:
            The best match by its worse picture; None if no pair of references matches by both pictures.
        """
        found = []
        for by in self._views:
            first = self._matches(source, by)
            second = self._matches(target, by) if first else {}
            for place, match in first.items():
                name, _, side = self._names[place].rpartition("#")
                other = self._places.get(f"{name}#{1 - int(side)}") if side in ("0", "1") else None
                if other is not None and other in second:
                    order = "aligned" if side == "0" else "swapped"
                    found.append(_worse(match, second[other], name, f"{by} {order}"))
        return min(found, key=_rank, default=None)

    def rejection(self, pictures: Sequence[Image.Image]) -> Rejection | None:
        """Reject a sample of which any picture is a duplicate.

        Args:
            pictures: RGB, in prompt order.

        Returns:
            Of the rule "duplicate", with the first match and its picture's number; None if there is none.
        """
        for number, picture in enumerate(pictures):
            match = self.of(picture)
            if match is not None:
                return Rejection("duplicate", {"image": number, **match.to_detail()})
        return None

    def notes(self) -> dict[str, Any]:
        """What was compared and how, for the manifest; the digest is of the references' names and hashes."""
        digest = sha256("\n".join(self._names).encode())
        digest.update(self._views["raw"].hashes.tobytes())
        return {
            "references": len(self._names),
            "references_sha256": digest.hexdigest(),
            "views": list(self._views),
            "measures": ["perceptual hash", "SSIM", *(["CLIP"] if self._clip else [])],
            "made_with": {name: version(name) for name in ("imagehash", "scikit-image")},
        }

    def _matches(self, picture: Image.Image, by: str) -> dict[int, Match]:
        """References that pass every measure, by their place."""
        from skimage.metrics import structural_similarity

        view, seen = self._views[by], _seen(picture, by)
        distances = view.distances(_hash(seen))
        near = np.flatnonzero(distances <= self._rules.max_hash_distance)
        grey = _grey(seen)
        ssims = {int(k): float(structural_similarity(view.greys[k], grey, data_range=255)) for k in near}
        places = [k for k, ssim in ssims.items() if ssim >= self._rules.min_ssim]
        cosines: dict[int, float | None] = dict.fromkeys(places)
        if self._clip and places:
            embedding = self._clip.embed([seen])[0]
            cosines = {k: float(view.embeddings[k] @ embedding) for k in places}
        return {
            k: Match(self._names[k], int(distances[k]), ssims[k], cosine, by)
            for k, cosine in cosines.items()
            if cosine is None or cosine >= self._rules.min_clip
        }


class _View:
    """References as one kind of pixels shows them: all that is compared later, and not the pictures."""

    def __init__(self) -> None:
        self.hashes = np.zeros((0, 64), dtype=bool)
        self.greys = np.zeros((0, SIDE, SIDE), dtype=np.uint8)
        self.embeddings = np.zeros((0, 0), dtype=np.float32)

    def add(self, pictures: Sequence[Image.Image], clip: Clip | None) -> None:
        self.hashes = np.concatenate([self.hashes, [_hash(picture) for picture in pictures]])
        self.greys = np.concatenate([self.greys, [_grey(picture) for picture in pictures]])
        if clip is not None:
            more = clip.embed(pictures)
            self.embeddings = np.concatenate([self.embeddings.reshape(-1, more.shape[1]), more])

    def distances(self, bits: np.ndarray) -> np.ndarray:
        """Hamming distances (N,) of a hash (64,) to all references at once."""
        counted: np.ndarray = (self.hashes != bits).sum(axis=1)
        return counted


def _seen(picture: Image.Image, by: str) -> Image.Image:
    """The pixels that are compared; of one size where they are blurred, so that the radius means the same."""
    if by == "raw":
        return picture
    grey = picture.convert("L").resize((BLURRED_SIDE, BLURRED_SIDE), Image.Resampling.LANCZOS)
    return grey.filter(ImageFilter.GaussianBlur(BLUR_RADIUS)).convert("RGB")


def _hash(picture: Image.Image) -> np.ndarray:
    import imagehash

    return np.asarray(imagehash.phash(picture).hash, dtype=bool).reshape(64)


def _grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _rank(match: Match) -> tuple[int, float, str]:
    return match.hash_distance, -match.ssim, match.reference


def _worse(first: Match, second: Match, name: str, by: str) -> Match:
    """A pair is as alike as its less alike pictures are."""
    clip = None if first.clip is None or second.clip is None else min(first.clip, second.clip)
    distance, ssim = max(first.hash_distance, second.hash_distance), min(first.ssim, second.ssim)
    return Match(name, distance, ssim, clip, by)


def _batches(references: Iterable[tuple[str, Image.Image]]) -> Iterator[list[tuple[str, Image.Image]]]:
    left = iter(references)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _require_packages() -> None:
    try:
        import imagehash  # noqa: F401
        import skimage.metrics  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"expected the packages imagehash and scikit-image, got no {error.name}, at the search for "
            "duplicates; fix: pip install 'latentvr[data]', or dedup=off"
        ) from error
