"""A miniature of Visual CoT: one row of each data set, awkward ones besides, and the conversations."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (80, 60)
# Where the images of a data set are, as the archive unpacks them.
FOLDERS = {"textcap": "textvqa", "visual7w": "v7w"}
DATASETS = (
    "cub", "docvqa", "dude", "flickr30k", "gqa", "infographicsvqa", "openimages", "sroie", "textcap",
    "textvqa", "visual7w", "vsr",
)  # fmt: skip
REQUEST = (
    " Please provide the bounding box coordinate of the region that can help you answer the question better."
)


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def _row(dataset: str, image: str, **changes: object) -> dict[str, object]:
    return {
        "question": f"What is in the {dataset} image?",
        "answer": f"a {dataset} thing",
        "image": image,
        "width": SIZE[0],
        "height": SIZE[1],
        "bboxs": [[8, 6, 40, 30]],
        "dataset": dataset,
        "split": "train",
        "full_answer": "It is a thing.",
        **changes,
    }


def awkward() -> list[dict[str, object]]:
    """Rows of gqa that are not plain, each with its own image."""
    return [
        _row("gqa", "two.jpg", bboxs=[[0, 0, 40, 30], [40, 30, 80, 60]]),
        _row("gqa", "border.jpg", bboxs=[[-3, 10, 85.5, 61]]),
        _row("gqa", "flat.jpg", bboxs=[[10, 10, 10, 20]]),
        _row("gqa", "outside.jpg", bboxs=[[90, 10, 95, 20]]),
        _row("gqa", "none.jpg", bboxs=[]),
        _row("gqa", "three.jpg", bboxs=[[1, 2, 3]]),
        _row("gqa", "gone.jpg"),
        _row("gqa", "broken.jpg"),
        _row("gqa", "half.jpg", width=160, height=120, bboxs=[[80, 60, 160, 120]]),
        _row("gqa", "other.jpg", width=60, height=80),
        _row("gqa", "turned.jpg"),
        _row("gqa", "silent.jpg", answer=" "),
        _row("gqa", "number.jpg", answer=7),
        _row("gqa", "../../escape.jpg"),
    ]


def write(root: Path) -> None:
    (root / "metadata").mkdir(parents=True)
    for k, dataset in enumerate(DATASETS):
        folder = root / "cot" / FOLDERS.get(dataset, dataset)
        folder.mkdir(parents=True, exist_ok=True)
        picture(k).save(folder / f"{dataset}.jpg")
        rows = [_row(dataset, f"{dataset}.jpg")]
        if dataset == "gqa":
            rows += awkward()
            _write_awkward(folder)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "metadata" / f"{dataset}_cot_train.jsonl").write_text(text)
    (root.parent / "escape.jpg").write_bytes((root / "cot" / "gqa" / "gqa.jpg").read_bytes())


def _write_awkward(folder: Path) -> None:
    for k, row in enumerate(awkward()):
        name = str(row["image"])
        if name in ("gone.jpg", "../../escape.jpg"):
            continue
        image = picture(100 + k)
        if name == "turned.jpg":
            exif = Image.Exif()
            exif[0x0112] = 3
            image.save(folder / name, exif=exif)
        else:
            image.save(folder / name)
        if name == "broken.jpg":
            (folder / name).write_bytes((folder / name).read_bytes()[:300])


def write_conversations(root: Path) -> None:
    folder = root / "cot" / "flickr30k"
    folder.mkdir(parents=True)
    picture(1).save(folder / "x.jpg")
    rows = [
        {
            "id": 0,
            "image": ["cot/flickr30k/x.jpg", "cot/flickr30k/x.jpg###[8, 6, 40, 30]"],
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is it?" + REQUEST},
                {"from": "gpt", "value": "[0.100, 0.100, 0.500, 0.500]"},
                {"from": "human", "value": "<image>"},
                {"from": "gpt", "value": "A dog"},
            ],
        }
    ]
    (root / "viscot_363k.json").write_text(json.dumps(rows))
