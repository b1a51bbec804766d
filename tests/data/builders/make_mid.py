"""A miniature of MID with albedo of known steps: 3 training scenes and one of the test, 25 lights each."""

from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 120, 80
# Left to right: pairs of neighbours at ratios 0.95 and 0.5.
STEPS = (0.40, 0.38, 0.19)


def albedo_map(height: int = HEIGHT, width: int = WIDTH, steps: tuple[float, ...] = STEPS) -> np.ndarray:
    values = np.empty((height, width, 3), np.float32)
    for k, step in enumerate(steps):
        values[:, k * width // len(steps) : (k + 1) * width // len(steps)] = step
    return values


def shaded(albedo: np.ndarray, light: int) -> Image.Image:
    """The scene under a light that is strong on one side: shading alone would mislead."""
    height, width, _ = albedo.shape
    ramp = np.linspace(0.05, 1.0, width) if light % 2 else np.linspace(1.0, 0.05, width)
    rough = np.random.default_rng(light).uniform(0.9, 1.1, (height, width, 1))
    linear = np.clip(albedo * ramp[None, :, None] * rough, 0, 1)
    return Image.fromarray(np.rint(linear ** (1 / 2.2) * 255).astype(np.uint8))


def write(
    root: Path,
    scenes: tuple[str, ...] = ("attic", "bath", "cellar", "everett_1"),
    albedo: Path | None = None,
    kind: str = "npy",
    albedo_size: tuple[int, int] = (HEIGHT, WIDTH),
    gap: bool = False,
    mip: int = 2,
) -> None:
    for name in scenes:
        folder = root / name
        (folder / "probes").mkdir(parents=True)
        values = albedo_map()
        for light in range(25):
            shaded(values, light).save(folder / f"dir_{light}_mip{mip}.jpg", quality=95)
        Image.new("RGB", (16, 16), "grey").save(folder / "probes" / "dir_0_gray256.jpg")
        Image.new("P", (WIDTH, HEIGHT)).save(folder / "materials_mip2.png")
        stored = albedo_map(*albedo_size)
        if gap:
            stored[: albedo_size[0] // 2, : albedo_size[1] // 2] = 0
            stored[albedo_size[0] // 2 :, : albedo_size[1] // 2] = np.nan
        place = folder if albedo is None else albedo / name
        place.mkdir(parents=True, exist_ok=True)
        if kind == "npy":
            np.save(place / "albedo.npy", stored)
        elif kind == "png":
            coded = np.where(stored <= 0.0031308, stored * 12.92, 1.055 * stored ** (1 / 2.4) - 0.055)
            Image.fromarray(np.rint(coded * 255).astype(np.uint8)).save(place / "albedo.png")
        elif kind == "exr":
            (place / "albedo.exr").write_bytes(b"\x76\x2f\x31\x01 cut off")
