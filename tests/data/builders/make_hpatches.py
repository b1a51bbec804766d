"""A miniature of HPatches: every picture of a scene shows one texture, moved by a known homography."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 6


def texture(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Green and blue of a scene at points of its first picture; hardly any red, which is for marks."""
    shift = sum(map(ord, name)) % 17
    green = 128 + 60 * np.sin(0.071 * x + shift) + 60 * np.cos(0.093 * y - 0.031 * x)
    blue = 128 + 60 * np.cos(0.057 * x + 0.043 * y + shift) + 60 * np.sin(0.101 * y)
    return np.stack([np.full_like(green, 20.0), green, blue], axis=-1)


def homography(name: str, k: int) -> np.ndarray:
    """From the first picture to the k-th: the identity where only the light changes."""
    if name.startswith("i_") or k == 1:
        return np.eye(3)
    step, turn = k - 1, (sum(map(ord, name)) % 5 - 2) / 2
    angle, size = 0.06 * step * turn, 1 + 0.03 * step
    c, s = size * np.cos(angle), size * np.sin(angle)
    return np.array([[c, -s, 2.5 * step], [s, c, -1.5 * step], [1e-4 * step * turn, 5e-5 * step, 1]])


def size(name: str) -> tuple[int, int]:
    return (200, 150) if sum(map(ord, name)) % 2 else (160, 180)


def picture(name: str, k: int) -> Image.Image:
    width, height = size(name)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    back = np.linalg.inv(homography(name, k))
    points = np.stack([x, y, np.ones_like(x)], axis=-1) @ back.T
    colours = texture(name, points[..., 0] / points[..., 2], points[..., 1] / points[..., 2])
    light = 1 - 0.05 * (k - 1) if name.startswith("i_") else 1.0
    return Image.fromarray(np.clip(np.rint(colours * light), 0, 255).astype(np.uint8))


def write(
    root: Path,
    count: int = 10,
    *,
    nested: bool = True,
    singular: bool = False,
    malformed: str | None = None,
    damaged: bool = False,
) -> Path:
    """Write `count` scenes of each kind; the awkward ones are v_00 (homography H_1_3, or picture 4.ppm)."""
    base = root / "hpatches-sequences-release" if nested else root
    for name in [f"{kind}_{n:02d}" for kind in "iv" for n in range(count)]:
        folder = base / name
        folder.mkdir(parents=True)
        for k in range(1, COUNT + 1):
            picture(name, k).save(folder / f"{k}.ppm")
            if k > 1:
                rows = [" ".join(repr(float(v)) for v in row) for row in homography(name, k)]
                (folder / f"H_1_{k}").write_text("\n".join(rows) + "\n\n")
    if singular:
        (base / "v_00/H_1_3").write_text("1 0 0\n2 0 0\n0 0 1\n")
    if malformed is not None:
        (base / "v_00/H_1_3").write_text(malformed)
    if damaged:
        (base / "v_00/4.ppm").write_bytes(b"P6\n200 150\n255\nshort")
    return base


def write_patches(root: Path) -> None:
    """The other release: strips of patches."""
    for name in ("i_ajuntament", "v_abstract"):
        (root / name).mkdir(parents=True)
        for strip in ("ref", "e1", "h1"):
            Image.new("RGB", (65, 130), (1, 2, 3)).save(root / name / f"{strip}.png")
