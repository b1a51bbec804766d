"""MID, the multi-illumination data set, with albedo beside its images or in the folder of MIDIntrinsics.

`<scene>/dir_{0..24}_mip2.jpg`, one image for each direction of the light, in the root or one folder below.
The release of the images has no albedo: that of MIDIntrinsics has `<scene>/albedo.exr`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from latentvr.data.readers.fields import wrong

_LIGHT = re.compile(r"dir_(\d+)_mip(\d+)\.(jpe?g|png)", re.IGNORECASE)
#: Files of albedo, the most exact first.
ALBEDO = ("albedo.exr", "albedo.npy", "albedo.png")
_TEST = "everett"


@dataclass(frozen=True)
class Scene:
    """A scene.

    Attributes:
        name: of its folder.
        images: file of each direction of the light.
        albedo: its file; None where there is none.
        test: whether the scene is of the test split.
    """

    name: str
    images: dict[int, Path]
    albedo: Path | None
    test: bool


def scenes(root: Path, albedo: Path | None = None, mip: int = 2) -> list[Scene]:
    """List the scenes of a folder, by name.

    Args:
        root: folder of the images.
        albedo: folder of the albedo; None looks beside the images.
        mip: level of detail; sides are 6000 and 4000 pixels, halved so many times.

    Returns:
        All scenes that have images of this level.

    Raises:
        RecordError: there are none, a scene occurs twice, or the folder of the albedo is missing.
    """
    if albedo is not None and not albedo.is_dir():
        raise wrong("the folder of the albedo", "none", albedo, "correct albedo=DIR")
    # Names of scenes to their folders; the archive of albedo may have been unpacked one folder deeper.
    of_albedo = {file.parent.name: file.parent for kind in ALBEDO for file in _one_or_two_below(albedo, kind)}
    made: dict[str, Scene] = {}
    for folder in _folders(root):
        images = _images(folder, mip)
        if not images:
            continue
        if folder.name in made:
            got = f"{folder.name} in two folders"
            raise wrong("each scene once", got, root, "keep one of them")
        beside = folder if albedo is None else of_albedo.get(folder.name)
        made[folder.name] = Scene(folder.name, images, _albedo(beside), folder.name.startswith(_TEST))
    if not made:
        expected = f"scenes with images such as dir_0_mip{mip}.jpg"
        raise wrong(expected, "none", root, "name the folder that holds the scenes, or give another mip")
    return [made[name] for name in sorted(made)]


def _one_or_two_below(root: Path | None, name: str) -> list[Path]:
    return [] if root is None else [*root.glob(f"*/*/{name}"), *root.glob(f"*/{name}")]


def _folders(root: Path) -> list[Path]:
    below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [*below, *(path for folder in below for path in sorted(folder.iterdir()) if path.is_dir())]


def _images(folder: Path, mip: int) -> dict[int, Path]:
    found = [(_LIGHT.fullmatch(path.name), path) for path in sorted(folder.iterdir())]
    return {int(match[1]): path for match, path in found if match and int(match[2]) == mip}


def _albedo(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    return next((folder / name for name in ALBEDO if (folder / name).is_file()), None)
