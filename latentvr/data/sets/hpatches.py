"""HPatches, the full image sequences: 1.ppm to 6.ppm and H_1_2 to H_1_6 of each scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentvr.errors import RecordError

COUNT = 6
FOLDER = "hpatches-sequences-release"
KINDS = ("i", "v")


@dataclass(frozen=True)
class Scene:
    """One sequence of pictures of a plane.

    Attributes:
        name: of the folder, such as "v_wall".
        kind: "i" where the light changes, "v" where the camera moves.
        images: six files.
        homographies: files H_1_2 to H_1_6, which map pixels of the first picture to those of another.
    """

    name: str
    kind: str
    images: tuple[Path, ...]
    homographies: tuple[Path, ...]


def scenes(root: Path) -> list[Scene]:
    """List the sequences in the order of their names.

    Args:
        root: the folder with the sequences, or the one that `hpatches-sequences-release` lies in.

    Returns:
        All sequences.

    Raises:
        RecordError: there are none, a file of one is missing, or these are the patches of the other release.
    """
    base = root / FOLDER if (root / FOLDER).is_dir() else root
    folders = sorted(folder for kind in KINDS for folder in base.glob(f"{kind}_*") if folder.is_dir())
    fix = f"download and unpack {FOLDER}"
    if not folders:
        raise RecordError(f"expected folders i_* and v_*, got none, at {str(base)!r}; fix: {fix}")
    return [_scene(folder, fix) for folder in folders]


def homography(file: Path) -> np.ndarray:
    """Read a homography.

    Args:
        file: of three rows of three numbers.

    Returns:
        Array (3, 3) of float64, which may be singular.

    Raises:
        RecordError: the file holds anything else.
    """
    try:
        matrix = np.array(
            [line.split() for line in file.read_text("utf-8").splitlines() if line.strip()], float
        )
    except (OSError, ValueError) as error:
        raise _no_homography(file, "another text") from error
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        got = f"shape {matrix.shape}" if matrix.shape != (3, 3) else "an infinite number or NaN"
        raise _no_homography(file, got)
    return matrix


def _scene(folder: Path, fix: str) -> Scene:
    if (folder / "ref.png").exists():
        raise RecordError(
            f"expected the image sequences, got strips of patches (hpatches-release), at {str(folder)!r}; "
            f"fix: {fix}"
        )
    images = tuple(folder / f"{k}.ppm" for k in range(1, COUNT + 1))
    matrices = tuple(folder / f"H_1_{k}" for k in range(2, COUNT + 1))
    for file in (*images, *matrices):
        if not file.is_file():
            raise RecordError(f"expected the file {file.name}, got none, at {str(folder)!r}; fix: {fix}")
    return Scene(folder.name, folder.name[0], images, matrices)


def _no_homography(file: Path, got: str) -> RecordError:
    return RecordError(
        f"expected three rows of three finite numbers, got {got}, at {str(file)!r}; "
        f"fix: unpack {FOLDER} again"
    )
