"""A miniature of FunKPoint: keypoint k is a patch of colour k in every picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = [(10, 30, 240), (10, 240, 30), (10, 235, 235), (10, 10, 10), (60, 120, 60)]
PLACES = [(0.2, 0.25), (0.8, 0.2), (0.5, 0.5), (0.2, 0.8), (0.8, 0.8)]
ACTIONS = ("Pour", "Mash/Pound")
HEADER = [
    *(f"p{k}_{axis}" for k in range(1, 6) for axis in "xy"),
    "difficulty", "image_path", "action", "wnid", "object_category",
]  # fmt: skip


def size(number: int) -> tuple[int, int]:
    return (200, 160) if number % 2 else (180, 190)


def points(number: int) -> list[tuple[float, float]]:
    """Shares of width and height of the five keypoints of a picture."""
    shift = np.random.default_rng(number).uniform(-0.06, 0.06, (5, 2))
    return [(float(x), float(y)) for x, y in np.array(PLACES) + shift]


def picture(number: int) -> Image.Image:
    width, height = size(number)
    noise = np.random.default_rng(number).integers(150, 200, (height, width, 3))
    noise[..., 0] = 20
    made = Image.fromarray(noise.astype(np.uint8))
    draw = ImageDraw.Draw(made)
    for (x, y), colour in zip(points(number), COLOURS, strict=True):
        x, y = x * width, y * height
        draw.rectangle((x - 6, y - 6, x + 6, y + 6), fill=colour)
    return made


def row(number: int, action: str, path: str) -> dict[str, str]:
    flat = [str(value) for point in points(number) for value in point]
    rest = ["1", path, action, f"n0{number % 3}", ("pot", "hammer", "cup")[number % 3]]
    return dict(zip(HEADER, [*flat, *rest], strict=True))


def write(
    root: Path,
    count: int = 20,
    *,
    both: int = 5,
    spoilt: Mapping[int, Mapping[str, str]] | None = None,
    renamed: Mapping[str, str] | None = None,
    prefix: str = "images/",
    nested: bool = True,
    extra: tuple[dict[str, str], ...] = (),
) -> Path:
    """Write `count` pictures with two actions in turn.

    Args:
        root: parent of the data set's folder, or itself.
        count: pictures.
        both: so many of them, from the first on, have rows for both actions.
        spoilt: values by the number of the row, from 0 on, that take the place of the right ones.
        renamed: other names of columns.
        prefix: what the table writes before "<wnid>/<file>".
        nested: whether the data set has a folder of its own.
        extra: further rows.
    """
    base = root / "FunKPoint" if nested else root
    rows = []
    for number in range(count):
        name = f"n0{number % 3}/{number:03d}.jpg"
        (base / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(base / "images" / name, quality=95, subsampling=0)
        rows.append(row(number, ACTIONS[number % 2], prefix + name))
        if number < both:
            rows.append(row(number, ACTIONS[1 - number % 2], prefix + name))
    for number, values in (spoilt or {}).items():
        rows[number].update(values)
    with (base / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([(renamed or {}).get(name, name) for name in HEADER])
        writer.writerows([one[name] for name in HEADER] for one in [*rows, *extra])
    return base
