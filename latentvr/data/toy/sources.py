"""What toy scenes are made of: real digit scans and photographs, split without overlap.

The scans are scikit-learn's 1797 handwritten digits (8 x 8 pixels); the photographs come inside the
scikit-image and scikit-learn wheels. Nothing is downloaded. Each scan belongs to one split, and each
photograph is cut into three vertical bands, one for each split.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentvr.errors import RecordError, UserError

SPLITS = ("train", "validation", "test")
N_CLASSES = 10

# Name of each photograph, and its folder below the site packages.
PHOTOS = {
    "astronaut.png": "skimage/data",
    "brick.png": "skimage/data",
    "camera.png": "skimage/data",
    "chelsea.png": "skimage/data",
    "china.jpg": "sklearn/datasets/images",
    "coffee.png": "skimage/data",
    "coins.png": "skimage/data",
    "flower.jpg": "sklearn/datasets/images",
    "grass.png": "skimage/data",
    "gravel.png": "skimage/data",
    "motorcycle_left.png": "skimage/data",
    "rocket.jpg": "skimage/data",
}

_SCAN_SHARES = (0.7, 0.85)
_BANDS = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
# Fixed for ever: another number would move scans between the splits of published checkpoints.
_PARTITION_SEED = 20240


@dataclass(frozen=True)
class ScanTable:
    """The scans of one split by digit class.

    Attributes:
        ids: (10, longest) scan ids; row d holds the scans of digit d, filled up with -1.
        counts: (10,) number of scans of each digit.
    """

    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def pick(self, rng: np.random.Generator, digits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Draw one scan id for each digit, independently: (n,) digits give (n,) ids."""
        columns = (rng.random(digits.shape) * self.counts[digits]).astype(np.int64)
        picked: npt.NDArray[np.int64] = self.ids[digits, columns]
        return picked

    def pick_distinct(self, rng: np.random.Generator, digit: int, n: int) -> npt.NDArray[np.int64]:
        """Draw n different scans of one digit."""
        picked: npt.NDArray[np.int64] = self.ids[digit, rng.permutation(int(self.counts[digit]))[:n]]
        return picked


def check_split(split: str) -> None:
    """Refuse an unknown split.

    Args:
        split: name of a split.

    Raises:
        RecordError: the split is not train, validation or test.
    """
    if split not in SPLITS:
        raise RecordError(
            f"expected a split of {', '.join(SPLITS)}, got {split!r}, at toy data; fix: use one of them"
        )


@cache
def scans() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Give all scans, (1797, 8, 8) ink in [0, 1], and their digits, (1797,).

    Returns:
        Ink in [0, 1] of shape (1797, 8, 8), and the digits of shape (1797,).

    Raises:
        UserError: scikit-learn is not installed.
    """
    table = np.loadtxt(_packaged("sklearn/datasets/data/digits.csv.gz"), delimiter=",", dtype=np.int64)
    ink: npt.NDArray[np.float32] = (table[:, :64] / 16).astype(np.float32).reshape(-1, 8, 8)
    digits: npt.NDArray[np.int64] = table[:, 64]
    return ink, digits


@cache
def scan_table(split: str) -> ScanTable:
    """Give the scans of a split: 70, 15 and 15 % for train, validation and test.

    Args:
        split: "train", "validation" or "test".

    Returns:
        Its scans by digit.

    Raises:
        RecordError: the split is unknown.
    """
    check_split(split)
    _, labels = scans()
    order = np.random.default_rng(_PARTITION_SEED).permutation(len(labels))
    bounds = [0, *(int(share * len(order)) for share in _SCAN_SHARES), len(order)]
    index = SPLITS.index(split)
    members = np.sort(order[bounds[index] : bounds[index + 1]])
    rows = [members[labels[members] == digit] for digit in range(N_CLASSES)]
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.full((N_CLASSES, int(counts.max())), -1, dtype=np.int64)
    for digit, row in enumerate(rows):
        ids[digit, : len(row)] = row
    return ScanTable(ids, counts)


@cache
def photo(name: str) -> npt.NDArray[np.uint8]:
    """Give one of `PHOTOS` as (height, width, 3) RGB.

    Args:
        name: a key of `PHOTOS`.

    Returns:
        RGB of shape (height, width, 3).

    Raises:
        UserError: the package that holds the photograph is not installed.
    """
    with Image.open(_packaged(f"{PHOTOS[name]}/{name}")) as image:
        return np.asarray(image.convert("RGB"))


def photo_region(name: str, split: str) -> tuple[int, int, int, int]:
    """Give the band (x0, y0, x1, y1) of a photograph, in pixels, that belongs to a split.

    Args:
        name: a key of `PHOTOS`.
        split: "train", "validation" or "test".

    Returns:
        Corners in pixels.

    Raises:
        RecordError: the split is unknown.
    """
    check_split(split)
    height, width, _ = photo(name).shape
    start, end = _BANDS[split]
    return int(start * width), 0, int(end * width), height


def _packaged(path: str) -> Path:
    """Find a data file of an installed package without importing the package, which takes seconds."""
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / inside).is_file():
            return Path(folder) / inside
    name = {"sklearn": "scikit-learn", "skimage": "scikit-image"}[package]
    raise UserError(f"expected the file {path} of {name}, got none, at toy data; fix: pip install -U {name}")
