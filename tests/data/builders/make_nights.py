"""A miniature of NIGHTS: `data.csv` and the three images of each triplet."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType
from typing import Any

HEADER = (
    "id", "left_vote", "right_vote", "votes", "ref_path", "left_path", "right_path", "split", "is_imagenet",
    "prompt",
)  # fmt: skip


def triplet(number: int, closer: str, votes: int, split: str) -> dict[str, Any]:
    """A row of the table; `closer` is "left", "right", "both" or "neither"."""
    return {
        "id": number,
        "left_vote": int(closer in ("left", "both")),
        "right_vote": int(closer in ("right", "both")),
        "votes": votes,
        "ref_path": f"ref/{number // 1000:03d}/{number:06d}.png",
        "left_path": f"distort/{number // 1000:03d}/{number:06d}_0.png",
        "right_path": f"distort/{number // 1000:03d}/{number:06d}_1.png",
        "split": split,
        "is_imagenet": True,
        "prompt": 'a photo of a "cat", sitting',
    }


def rows() -> list[dict[str, Any]]:
    """Eight good rows of training, two of validation, and the awkward ones."""
    good = [triplet(k, "left" if k % 2 else "right", 6 + k % 3, "train") for k in range(8)]
    return [
        *good,
        triplet(20, "left", 7, "val"),
        triplet(1021, "right", 6, "val"),
        triplet(30, "left", 9, "test"),
        triplet(40, "right", 4, "train"),
        triplet(41, "left", 5, "train"),
        triplet(42, "both", 8, "train"),
        triplet(43, "neither", 8, "train"),
        triplet(44, "left", 8, "train"),  # its left image is missing
        triplet(45, "left", 8, "train") | {"ref_path": "../../outside.png"},
        triplet(46, "left", 8, "train") | {"ref_path": "/etc/hostname"},
        triplet(3, "left", 8, "train"),  # an id a second time
    ]


def seeds(number: int) -> dict[str, int]:
    return {"ref_path": 3 * number, "left_path": 3 * number + 1, "right_path": 3 * number + 2}


def write(
    root: Path,
    textures: ModuleType,
    header: tuple[str, ...] | None = HEADER,
    columns: tuple[str, ...] = HEADER,
) -> None:
    """Write the table with this header (None: without one) over these columns, and the images."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "data.csv").open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream)
        if header is not None:
            out.writerow(header)
        out.writerows([row[name] for name in columns] for row in rows())
    for row in rows():
        for name, seed in seeds(row["id"]).items():
            file = root / row[name]
            if row["id"] in (45, 46) and name == "ref_path":
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            textures.texture(seed, (64, 64)).save(file)
    (root / "distort/000/000044_0.png").unlink()
    textures.texture(999, (64, 64)).save(root.parent / "outside.png")
