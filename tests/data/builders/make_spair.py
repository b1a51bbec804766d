"""A miniature of SPair-71k: keypoint k is a patch of colour k in every picture."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CATEGORIES = ("cat", "dog")
COLOURS = [(10, 30, 240), (10, 240, 30), (10, 235, 235), (10, 10, 10), (60, 120, 60), (10, 110, 130)]
# Far apart even when a picture has moved them.
PLACES = [(40, 40), (130, 40), (40, 110), (130, 110), (85, 75), (180, 75)]


def size(name: str) -> tuple[int, int]:
    return (240, 160) if int(name[-1]) % 2 else (220, 150)


def keypoints(name: str) -> list[list[float]]:
    """Positions of all six keypoints of a picture; halves of pixels occur."""
    shift = np.random.default_rng(sum(map(ord, name))).integers(-16, 17, (6, 2)) / 2
    return (np.array(PLACES) + shift).tolist()


def picture(name: str) -> Image.Image:
    width, height = size(name)
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(sum(map(ord, name))).integers(0, 30, (height, width))
    green, blue = 150 + 40 * x // width + noise, 150 + 50 * y // height
    red = np.full_like(x, 20)
    ground = np.stack([red, green, blue], axis=-1)
    made = Image.fromarray(ground.astype(np.uint8))
    draw = ImageDraw.Draw(made)
    for (px, py), colour in zip(keypoints(name), COLOURS, strict=True):
        draw.rectangle((px - 6, py - 6, px + 6, py + 6), fill=colour)
    return made


def names(category: str, count: int) -> list[str]:
    return [f"2007_{category}{k}" for k in range(count)]


def _pair(source: str, target: str, category: str, number: int) -> dict[str, object]:
    return {
        "pair_id": number, "filename": f"{number:06d}-{source}-{target}:{category}", "category": category,
        "src_imname": f"{source}.jpg", "trg_imname": f"{target}.jpg",
        "src_imsize": [*size(source), 3], "trg_imsize": [*size(target), 3],
        "src_bndbox": [1, 1, 99, 99], "trg_bndbox": [1, 1, 99, 99], "src_pose": "Left", "trg_pose": "Rear",
        "src_kps": keypoints(source), "trg_kps": keypoints(target), "kps_ids": [str(3 * k) for k in range(6)],
        "mirror": 0, "viewpoint_variation": 0, "scale_variation": 0, "truncation": 0, "occlusion": 0,
    }  # fmt: skip


def _spoil(row: dict[str, object], how: str) -> None:
    """Make a row awkward; the first four keep four keypoints or lose one too many."""
    source, target = row["src_kps"], row["trg_kps"]
    if how == "three":
        row.update(src_kps=source[:3], trg_kps=target[:3], kps_ids=["0", "3", "6"])
    elif how == "negative":
        row.update(src_kps=source[:4], trg_kps=[[-1.0, 40.0], *target[1:4]])
    elif how == "nan":
        row.update(src_kps=[*source[:3], [float("nan"), 40.0]], trg_kps=target[:4])
    elif how == "null":
        row.update(src_kps=[*source[:3], None], trg_kps=target[:4])
    elif how == "outside":
        row.update(src_kps=source[:4], trg_kps=[*target[:3], [130.0, 1000.0]])
    elif how == "spared":
        # Two of six are bad: four are left, and none of the bad may be marked.
        row.update(trg_kps=[[-1.0, -1.0], [float("nan"), 3.0], *target[2:]])
    elif how == "crowded":
        row.update(trg_kps=[[60 + k, 60 + k] for k in range(6)])
    elif how == "size":
        row.update(trg_imsize=[100, 100, 3])


def write(
    root: Path, count: int = 4, mark: str = ":", spoilt: tuple[str, ...] = (), *, nested: bool = True
) -> Path:
    """Write all ordered pairs of `count` pictures of each category; the first cat pairs are spoilt.

    Args:
        root: parent of the data set's folder, or itself.
        count: pictures of each category.
        mark: what stands for ":" in names of files.
        spoilt: how the first pairs are spoilt, one after the other.
        nested: whether the data set has a folder of its own.
    """
    base = root / "SPair-71k" if nested else root
    for folder in ("Layout/large", "Layout/small", "PairAnnotation/trn"):
        (base / folder).mkdir(parents=True)
    lines = []
    left = list(spoilt)
    for category in CATEGORIES:
        (base / "JPEGImages" / category).mkdir(parents=True)
        for name in names(category, count):
            picture(name).save(base / "JPEGImages" / category / f"{name}.jpg", quality=95, subsampling=0)
        for source, target in permutations(names(category, count), 2):
            row = _pair(source, target, category, len(lines) + 1)
            if left:
                _spoil(row, left.pop(0))
            lines.append(str(row["filename"]))
            file = f"{lines[-1].replace(':', mark)}.json"
            (base / "PairAnnotation/trn" / file).write_text(json.dumps(row))
    (base / "Layout/large/trn.txt").write_text("\n".join(lines) + "\n")
    (base / "Layout/small/trn.txt").write_text("\n".join(lines[::2]) + "\n")
    return base
