"""SPair-71k: pairs of pictures of one category with the keypoints that both show.

On disk: `Layout/{large,small}/{trn,val,test}.txt` with lines `000001-2007_000027-2007_000032:aeroplane`,
`PairAnnotation/{trn,val,test}/<line>.json` and `JPEGImages/<category>/<name>.jpg`. Some systems cannot have
":" in the name of a file; "_" in its place and its absence are understood.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import wrong

Point = tuple[float, float]

_LINE = re.compile(r"(\d+-[\w.]+-[\w.]+):(\w+)")
_SPELLINGS = (":", "_", "")
_INVALID = (math.nan, math.nan)


@dataclass(frozen=True)
class PairName:
    """One line of a layout.

    Attributes:
        stem: number and names of both pictures, such as "000001-2007_000027-2007_000032".
        category: such as "aeroplane".
    """

    stem: str
    category: str

    @property
    def source(self) -> str:
        """Name of the first picture without its ending."""
        return self.stem.split("-")[1]

    @property
    def target(self) -> str:
        """Name of the second picture without its ending."""
        return self.stem.split("-")[2]


@dataclass(frozen=True)
class Pair:
    """What a pair's annotation says.

    Attributes:
        images: both pictures.
        sizes: width and height of each, as the annotation says.
        keypoints: position in each picture of every keypoint, in pixels; NaN where one is not given.
        ids: names of the keypoints.
    """

    images: tuple[Path, Path]
    sizes: tuple[tuple[int, int], tuple[int, int]]
    keypoints: tuple[tuple[Point, Point], ...]
    ids: tuple[str, ...]


def layout_file(root: Path, part: str, layout: str = "large") -> Path:
    """Give the file that lists the pairs of a part ("trn", "val" or "test"), which may not be there."""
    return _base(root) / "Layout" / layout / f"{part}.txt"


def pair_names(root: Path, part: str, layout: str = "large") -> list[PairName]:
    """List the pairs of a part in the order of their names.

    Args:
        root: the data set's folder, or the one that `SPair-71k` lies in.
        part: "trn", "val" or "test".
        layout: "large", which has all pairs, or "small".

    Returns:
        All pairs.

    Raises:
        RecordError: the layout is missing, has a line of another form or none, or the annotation of its
            first pair is there under no known spelling.
    """
    file = layout_file(root, part, layout)
    if not file.is_file():
        raise wrong("the list of pairs", "no such file", file, "name the unpacked folder SPair-71k")
    names = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            form = "a line such as 000001-2007_000027-2007_000032:aeroplane"
            raise wrong(form, ascii(line)[:80], f"{file} row {number}", "unpack the archive again")
        names.append(PairName(found[1], found[2]))
    if not names:
        raise wrong("at least one pair", "none", file, "unpack the archive again")
    names.sort(key=lambda name: (name.stem, name.category))
    if annotation_file(root, part, names[0]) is None:
        wanted = f"{names[0].stem}:{names[0].category}.json"
        fix = 'unpack the archive where names of files may have ":", or with "_" in its place'
        raise wrong(f'{wanted} or the same with "_" or nothing for ":"', "none", file.parents[2], fix)
    return names


def annotation_file(root: Path, part: str, name: PairName) -> Path | None:
    """Find the annotation of a pair under any spelling of its name; None if there is none."""
    folder = _base(root) / "PairAnnotation" / part
    files = (folder / f"{name.stem}{mark}{name.category}.json" for mark in _SPELLINGS)
    return next((file for file in files if file.is_file()), None)


def read_pair(root: Path, file: Path) -> Pair:
    """Read a pair's annotation.

    Args:
        root: as for `pair_names`.
        file: of the annotation.

    Returns:
        Its pictures and keypoints; coordinates may lie anywhere.

    Raises:
        RecordError: it is no JSON, or a field is missing or of another type.
    """
    try:
        # NaN is let pass: a keypoint without a position is the builder's to reject.
        row = json.loads(file.read_text("utf-8"))
        names = [str(row["src_imname"]), str(row["trg_imname"])]
        sizes = [(int(size[0]), int(size[1])) for size in (row["src_imsize"], row["trg_imsize"])]
        points = [[_point(point) for point in row[key]] for key in ("src_kps", "trg_kps")]
        keypoints = tuple(zip(points[0], points[1], strict=True))
        ids = tuple(str(one) for one in row.get("kps_ids", range(len(keypoints))))
        folder = _base(root) / "JPEGImages" / str(row["category"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        problem = f"{type(error).__name__} {error}"[:120]
        raise wrong("a pair's annotation", problem, file, "unpack the archive again") from error
    images = folder / names[0], folder / names[1]
    return Pair(images, (sizes[0], sizes[1]), keypoints, ids)


def _point(value: Any) -> Point:
    return _INVALID if value is None or None in value else (float(value[0]), float(value[1]))


def _base(root: Path) -> Path:
    return root / "SPair-71k" if (root / "SPair-71k").is_dir() else root
