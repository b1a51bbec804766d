"""ArtBench-10 (fair use, not to be passed on): paintings of ten styles, sorted into folders.

On disk: `artbench-10-imagefolder-split/{train,test}/<style>/<file>.jpg`, 5000 and 1000 of each style at
256 x 256 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentvr.data.readers.fields import wrong

_FOLDER = "artbench-10-imagefolder-split"


@dataclass(frozen=True)
class ArtbenchRow:
    """One painting.

    Attributes:
        style: name of its folder, such as "ukiyo_e".
        image: the file, not opened.
    """

    style: str
    image: Path


def rows(root: Path, split: str) -> list[ArtbenchRow]:
    """List the paintings of a split, by style and by name.

    Args:
        root: the folder `artbench-10-imagefolder-split`, or the one that holds it.
        split: "train" or "test".

    Returns:
        Every file in a folder of a style; hidden ones, which are no part of the data set, are left out.

    Raises:
        RecordError: there is no such split, or no painting in it.
    """
    folder = next((place for place in (root / split, root / _FOLDER / split) if place.is_dir()), None)
    if folder is None:
        raise wrong(f"a folder {split} with one folder for each style", "none", root, f"unpack {_FOLDER}")
    found = [
        ArtbenchRow(style.name, image)
        for style in _visible(folder)
        if style.is_dir()
        for image in _visible(style)
        if image.is_file()
    ]
    if not found:
        raise wrong("folders of styles with paintings", "none", folder, f"unpack {_FOLDER} again")
    return found


def _visible(folder: Path) -> list[Path]:
    # By code points: the order must not depend on the file system or on the language of the machine.
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
