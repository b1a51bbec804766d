"""A miniature of ViRL39K: answers in nested boxes, words, several images, images that are missing."""

from pathlib import Path

import numpy as np
import pyarrow
from PIL import Image
from pyarrow.parquet import write_table

# question, answer, images
ROWS = {
    "plain": ("<image>What is x?", r"\boxed{4}", ["images/Processed-1.jpg"]),
    "nested": ("<image>\nSolve.", r"\boxed{\frac{1}{\sqrt{2}}}", ["images/Processed-2.jpg"]),
    "braces": ("<image>Which set?", r"\boxed{\{1, 2\}}", ["images/Processed-1.jpg"]),
    "letter": ("<image>Choose.\nA. 1\nB. 2", r"\boxed{B}", ["images/Processed-1.jpg"]),
    "unit": ("<image>How long?", r"\boxed{12 meters}", ["images/Processed-1.jpg"]),
    "words": ("<image>How does it grow?", r"\boxed{increasing function}", ["images/Processed-1.jpg"]),
    "bare": ("<image>How many?", "17", ["images/Processed-1.jpg"]),
    "two": (
        "Compare <image> and <image>.",
        r"\boxed{\frac{3}{4}}",
        ["images/Processed-1.jpg", "images/Processed-2.jpg"],
    ),
    "open": ("<image>Cut off?", r"\boxed{\frac{1}{2}", ["images/Processed-1.jpg"]),
    "twice": ("<image>Both?", r"\boxed{1} or \boxed{2}", ["images/Processed-1.jpg"]),
    "empty": ("<image>Nothing?", r"\boxed{}", ["images/Processed-1.jpg"]),
    "blind": ("No image at all?", r"\boxed{1}", []),
    "gone": ("<image>Where?", r"\boxed{1}", ["images/Processed-9.jpg"]),
    "broken": ("<image>Where?", r"\boxed{1}", ["images/Processed-3.jpg"]),
    "mute": ("<image>", r"\boxed{1}", ["images/Processed-1.jpg"]),
}


def write(root: Path) -> None:
    (root / "images").mkdir(parents=True)
    for k in (1, 2, 3):
        pixels = np.random.default_rng(k).integers(0, 255, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"Processed-{k}.jpg")
    (root / "images" / "Processed-3.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    rows = [
        {
            "question": question,
            "answer": answer,
            "PassRate_32BTrained": 0.5,
            "PassRate_7BBase": None if qid == "plain" else 0.25,
            "category": "(GradeSchool) Geometric",
            "source": "Processed",
            "qid": qid,
            "image": images,
        }
        for qid, (question, answer, images) in ROWS.items()
    ]
    write_table(pyarrow.Table.from_pylist(rows), root / "39Krelease.parquet")
