"""A miniature of COCO 2017: photographs, their annotations, and whatever is awkward about them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

SIZE = (640, 480)
FOLDERS = {"train": "train2017", "validation": "val2017"}
CATEGORIES = {17: "cat", 18: "dog", 44: "bottle"}
_TURNED = 6  # the EXIF orientation of a camera held upright

#: Pictures that are good for everything: number, and how they differ from an RGB JPEG of `SIZE`.
TRAIN = {1: "", 2: "", 3: "grey", 4: "cmyk", 5: "turned", 6: "", 7: "", 8: ""}
VALIDATION = {101: "", 102: "", 103: "turned"}
SMALL, DAMAGED, OTHER_SIZE, NOT_THERE, IN_BOTH = 20, 21, 22, 23, 8


def name(number: int) -> str:
    return f"{number:012d}.jpg"


def good(number: int, image: int, share: float = 0.25, category: int = 18, **changes: Any) -> dict[str, Any]:
    """An annotation that passes every rule; its box lies at a place of its own."""
    side = share**0.5
    width, height = round(SIZE[0] * side, 2), round(SIZE[1] * side, 2)
    x, y = 30.5 + 7 * (number % 11), 20.25 + 5 * (number % 13)
    outline = [x, y, x + width, y, x + width, y + height]
    return {
        "id": number, "image_id": image, "category_id": category, "bbox": [x, y, width, height],
        "area": 0.8 * width * height, "segmentation": [outline], "iscrowd": 0,
    } | changes  # fmt: skip


def objects() -> dict[str, list[dict[str, Any]]]:
    """Annotations of both splits; the awkward ones have numbers from 900 on."""
    outline = {"counts": [3, 4], "size": [480, 640]}
    train = [good(number, number, category=(17, 18, 44)[number % 3]) for number in TRAIN]
    train += [
        good(51, 1, bbox=[7.5, 9.25, 256, 180], area=0.7 * 256 * 180),  # a share of 0.15 to the pixel
        good(52, 1, share=0.5, bbox=[0, 0, 640, 240], area=640 * 240 * 0.6),
        good(900, 1, iscrowd=1, segmentation=outline),
        good(901, 1, share=0.14),
        good(902, 1, share=0.52, bbox=[0, 0, 640, 250]),
        good(903, 2, area=0.59 * 320 * 240),
        good(904, 2, bbox=[10.0, 10.0, 0.0, 200.0]),
        good(905, 2, bbox=[10.0, 10.0, -300.0, -300.0]),
        good(906, 2, bbox=[400.0, 100.0, 320.0, 240.0]),
        good(907, 2, bbox=[-20.0, 100.0, 320.0, 240.0]),
        good(908, 2, bbox=[10.0, float("nan"), 320.0, 240.0]),
        good(909, 999),  # a picture that the table does not list
        good(910, NOT_THERE),
        good(911, DAMAGED),
        good(912, OTHER_SIZE),
        good(953, 3, bbox=[320.4, 239.5, 320.1, 241.0]),  # out by half a pixel, as rounding does
    ]
    validation = [good(number, number) for number in VALIDATION] + [good(920, IN_BOTH)]
    return {"train": train, "validation": validation}


def photo(textures: ModuleType, number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Soft patches with a fine grain, so that no place looks like another."""
    grain = np.random.default_rng(number).integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray(
        np.clip(np.asarray(textures.texture(number, size)) + grain, 0, 255).astype(np.uint8)
    )


def _save(textures: ModuleType, folder: Path, number: int, kind: str) -> None:
    image = photo(textures, number)
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = _TURNED
        image.save(folder / name(number), quality=92, exif=exif)
    else:
        image.convert({"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB")).save(folder / name(number), quality=92)


def table(split: str) -> dict[str, Any]:
    listed = [*TRAIN, DAMAGED, OTHER_SIZE, NOT_THERE] if split == "train" else [*VALIDATION, IN_BOTH]
    images = [
        {"id": number, "file_name": name(number), "width": SIZE[0], "height": SIZE[1], "license": 3}
        for number in listed
    ]
    categories = [{"id": key, "name": text, "supercategory": "animal"} for key, text in CATEGORIES.items()]
    return {"info": {}, "images": images, "annotations": objects()[split], "categories": categories}


def write(root: Path, textures: ModuleType) -> None:
    (root / "annotations").mkdir(parents=True)
    for split, pictures in (("train", TRAIN), ("validation", VALIDATION | {IN_BOTH: ""})):
        folder = root / FOLDERS[split]
        folder.mkdir()
        for number, kind in pictures.items():
            _save(textures, folder, number, kind)
        path = root / "annotations" / f"instances_{FOLDERS[split]}.json"
        path.write_text(json.dumps(table(split)), encoding="utf-8")
    train = root / FOLDERS["train"]
    photo(textures, SMALL, (399, 300)).save(train / name(SMALL))
    photo(textures, OTHER_SIZE, (480, 640)).save(train / name(OTHER_SIZE))
    whole = (train / name(1)).read_bytes()
    (train / name(DAMAGED)).write_bytes(whole[: len(whole) // 3])
    (train / f"._{name(1)}").write_bytes(b"Mac OS X")
    (train / "Thumbs.db").write_bytes(b"thumbnails")
