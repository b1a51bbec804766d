"""Miniatures of SAT (parquet, both versions) and of SAT-32k (lines of both kinds)."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow
from PIL import Image
from pyarrow.parquet import write_table

# question, answers, right answer, number of images
ROWS = [
    ("Which way did it turn?", ["left", "right"], "right", 1),
    ("Did the camera move between the two?", ["yes", "no"], "yes", 2),
    ("How did it rotate?", ["left", "right", "did not move"], "did not move", 2),
    ("Is the answer listed?", ["left", "right"], "up", 1),
    ("Are the options different?", ["Left", "left"], "left", 1),
    ("One option?", ["left"], "left", 1),
    ("No image?", ["left", "right"], "left", 0),
    ("A broken image?", ["left", "right"], "left", -1),
]


def image_bytes(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(stream, format="JPEG")
    return stream.getvalue()


def row_images(number: int, count: int) -> list[bytes]:
    if count < 0:
        return [b"\xff\xd8\xff\xe0 cut off"]
    return [image_bytes(10 * number + k) for k in range(count)]


def write_parquet(file: Path, column: str = "image_bytes", row_group: int = 3) -> None:
    """`image_bytes` of the first version are structs, `images` of the second are plain bytes here."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for k, (question, answers, right, count) in enumerate(ROWS, start=1):
        images: list[object] = list(row_images(k, count))
        if column == "image_bytes":
            images = [{"bytes": data, "path": None} for data in images]
        rows.append(
            {
                column: images,
                "question": question,
                "answers": answers,
                "question_type": "obj_movement",
                "correct_answer": right,
            }
        )
    write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=row_group)


def problem(question: str, choices: list[str], marks: int) -> str:
    lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCDEF", choices, strict=False))
    shown = "<image>" * marks
    return f"{shown}\nQuestion: {question}\nAnswer Choices:\n{lines}\nAnswer with the text of the option."


def rl_rows() -> list[dict[str, object]]:
    one, two = "spatial_reasoning/images/a.png", "spatial_reasoning/images/b.png"
    return [
        {"image_paths": [one], "problem": problem("Turned?", ["left", "right"], 1), "answer": "right"},
        {"images": [one, two], "problem": problem("Moved?", ["yes", "no"], 2), "answer": "B. No"},
        {"image_paths": [one, two], "problem": problem("Marks?", ["yes", "no"], 1), "answer": "yes"},
        {"image_paths": [one], "problem": problem("Listed?", ["yes", "no"], 1), "answer": "maybe"},
        {"image_paths": ["spatial_reasoning/images/z.png"], "problem": problem("Gone?", ["yes", "no"], 1),
         "answer": "no"},
        {"image_paths": [one], "problem": "<image>\nPoint at it.", "answer": "(1, 2)"},
    ]  # fmt: skip


def write_lines(root: Path) -> None:
    folder = root / "spatial_reasoning"
    (folder / "images").mkdir(parents=True)
    for name, seed in (("a.png", 1), ("b.png", 2)):
        pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
    lines = "".join(json.dumps(row) + "\n" for row in rl_rows())
    for name in ("vigorl_sat2_train_RL.jsonl", "vigorl_sat2_val_RL.jsonl"):
        (folder / name).write_text(lines)
    (folder / "sat2_test").mkdir()
    evaluation = {
        "id": 0,
        "image": "spatial_reasoning/images/b.png",
        "conversations": [
            {"from": "human", "value": problem("Where is it?", ["left", "right"], 1)},
            {"from": "gpt", "value": "left"},
        ],
        "source": "SAT2_base",
    }
    (folder / "sat2_test" / "sat2_test.jsonl").write_text(json.dumps(evaluation) + "\n")
