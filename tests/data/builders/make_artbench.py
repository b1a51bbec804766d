"""A miniature of ArtBench-10: three styles, some damaged files, and a test folder that must not be used."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from PIL import Image

STYLES = ("baroque", "realism", "ukiyo_e")
FOLDER = "artbench-10-imagefolder-split"


def seed(style: str, number: int) -> int:
    return 1000 * (STYLES.index(style) + 1) + number


def write(root: Path, textures: ModuleType, count: int = 12, nested: bool = True) -> Path:
    """Write `count` paintings of each style for training and one for the test; gives the folder of splits."""
    folder = root / FOLDER if nested else root
    for style in STYLES:
        for split, numbers in (("train", range(count)), ("test", range(900, 901))):
            (folder / split / style).mkdir(parents=True)
            for number in numbers:
                image = textures.texture(seed(style, number), (64, 64))
                image.save(folder / split / style / f"artist_{number:03d}.jpg", quality=90)
    # What a desktop leaves behind: it is no painting.
    (folder / "train" / STYLES[0] / ".DS_Store").write_bytes(b"\0")
    (folder / "train" / ".cache").mkdir()
    return folder


def damage(folder: Path, style: str, number: int, way: str) -> None:
    """Make a painting unreadable: "cut" it short, "shrink" it to 1 x 1, or put a "page" in its place."""
    file = folder / "train" / style / f"artist_{number:03d}.jpg"
    if way == "cut":
        file.write_bytes(file.read_bytes()[:200])
    elif way == "shrink":
        Image.new("RGB", (1, 1), "white").save(file)
    else:
        file.write_text("<html>gone</html>")
