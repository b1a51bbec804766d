"""Benchmarks in miniature, file for file as they are published."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from latentvr.data.record import Record
from latentvr.evaluation.metrics import Prediction

SIZE = (24, 16)
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def pixels(seed: int) -> np.ndarray:
    """A gradient in a colour of its own."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, SIZE[0])[None, :, None] * np.ones((SIZE[1], 1, 3))
    return (ramp * rng.integers(60, 255, 3)).astype(np.uint8)


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(seed)).save(stream, "PNG")
    return stream.getvalue()


def cell(seed: int | None) -> dict[str, Any] | None:
    return None if seed is None else {"bytes": png(seed), "path": f"{seed}.png"}


def shows(image: Image.Image, seed: int) -> bool:
    """Whether this is the picture of a seed."""
    return bool(np.array_equal(np.asarray(image), pixels(seed)))


def blink_table(
    task: str, split: str, seeds: Sequence[Sequence[int | None]], answers: Sequence[str]
) -> pa.Table:
    n = len(seeds)
    columns: dict[str, Any] = {
        "idx": [f"{split}_{task}_{i + 1}" for i in range(n)],
        "sub_task": [task] * n,
        "question": [f"Which {{one}} of {task}?" for _ in range(n)],
    }
    for k in range(4):
        columns[f"image_{k + 1}"] = pa.array(
            [cell(row[k] if k < len(row) else None) for row in seeds], PICTURE
        )
    columns |= {
        "choices": [["the second image", "the third image"]] * n,
        "answer": list(answers),
        "prompt": ["Which {one}?\n(A) the second image\n(B) the third image\n"] * n,
        "explanation": ["" for _ in range(n)],
    }
    return pa.table(columns)


@pytest.fixture
def blink_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write `<Sub_Task>/<split>-00000-of-00001.parquet` for tasks and the number of their rows."""

    def write(tasks: dict[str, int], split: str = "val", answers: Sequence[str] = ("(A)", "(B)")) -> Path:
        root = tmp_path / "BLINK"
        for t, (task, count) in enumerate(tasks.items()):
            # The first of three columns is null in no row, the third in every other one.
            seeds = [(100 * t + 3 * i, 100 * t + 3 * i + 1, None if i % 2 else 999) for i in range(count)]
            gold = [answers[i % len(answers)] for i in range(count)]
            (root / task).mkdir(parents=True, exist_ok=True)
            name = f"{split}-00000-of-00001.parquet"
            pq.write_table(blink_table(task, split, seeds, gold), root / task / name, row_group_size=2)
        return root

    return write


@pytest.fixture
def vstar_folder(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        root = tmp_path / "vstar"
        ask = "\nAnswer with the option's letter from the given choices directly."
        rows = [
            {"question_id": 0, "image": "direct_attributes/sa_1.jpg", "category": "direct_attributes",
             "label": "A",
             "text": "What colour is the glove?\n(A) red\n(B) pale blue\n(C) kevlar (grey)\n(D) pink" + ask},
            {"question_id": 114, "image": "direct_attributes/sa_2.jpg", "label": "D",
             "text": "What is it made of?\n(A) wood\n(B) tin\n(C) glass\n(D) wool" + ask},
            {"question_id": 115, "image": "relative_position/sa_3.jpg", "label": "B",
             "text": "Is the dog left or right of the car?\n(A) right\n(B) left" + ask},
        ]  # fmt: skip
        for seed, row in enumerate(rows):
            path = root / str(row["image"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(seed))
        rows[-1].update(changes)
        (root / "test_questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return root

    return write


@pytest.fixture
def mmvp_folder(tmp_path: Path) -> Callable[..., Path]:
    def write(
        indices: Sequence[int] = (1, 2, 99, 100), answers: str = "abab", index_name: str = "Index"
    ) -> Path:
        root = tmp_path / "mmvp"
        (root / "MMVP Images").mkdir(parents=True)
        with (root / "Questions.csv").open("w", newline="", encoding="utf-8-sig") as stream:
            writer = csv.writer(stream)
            writer.writerow([index_name, "Question", "Options", "Correct Answer"])
            for index, answer in zip(indices, answers, strict=True):
                question = 'Are the wings, or "sails", open?'
                writer.writerow([index, question, "(a) Open (b) Closed (almost)", f"({answer})"])
                (root / "MMVP Images" / f"{index}.jpg").write_bytes(png(index))
        return root

    return write


@pytest.fixture
def robospatial_folder(tmp_path: Path) -> Path:
    root = tmp_path / "robospatial"
    (root / "data").mkdir(parents=True)
    points = (
        "Your answer should be formatted as a list of tuples, i.e. [(x1, y1), ...], where each tuple "
        "contains the x and y coordinates of a point satisfying the conditions above. The coordinates should "
        "be between 0 and 1, indicating the normalized pixel locations of the points."
    )
    yes_no = " Answer yes or no."
    rows = {
        "context": [
            (f"Where is room left of the cup? {points}", "[(0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5)]")
        ],
        "configuration": [
            ("Is the cup left of the plate?" + yes_no, "Yes"),
            ("Is it behind?" + yes_no, "no"),
        ],
        "compatibility": [("Can the box fit?" + yes_no, "no")],
    }
    for k, (split, asked) in enumerate(rows.items()):
        images = pa.array([cell(10 * k + i) for i in range(len(asked))], PICTURE)
        masks = pa.array([cell(5) if split == "context" else None for _ in asked], PICTURE)
        table = pa.table(
            {"category": [split] * len(asked), "question": [q for q, _ in asked],
             "answer": [a for _, a in asked], "img": images, "depth_image": images, "mask": masks}
        )  # fmt: skip
        pq.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet")
    return root


@pytest.fixture
def hrbench_rows() -> list[dict[str, Any]]:
    """Two questions, on one thing and on several, in two orders of their options each."""
    rows: list[dict[str, Any]] = []
    for i, (category, question) in enumerate(
        [("single", "What\tcolour\nis it?"), ("cross", 'Left "or" right?')]
    ):
        for cycle in range(2):
            options = ["red", "green", "blue", "grey"]
            turned = options[cycle:] + options[:cycle]
            rows.append(
                {"index": 2 * i + cycle, "question": question, "answer": "ABCD"[turned.index("green")],
                 "category": category, **dict(zip("ABCD", turned, strict=True)), "cycle_category": cycle,
                 "image": base64.b64encode(png(i)).decode()}
            )  # fmt: skip
    return rows


@pytest.fixture
def pixmo_folder(tmp_path: Path) -> Path:
    """Four rows: two images, one dead link, one image that its site has replaced."""
    root = tmp_path / "pixmo"
    (root / "images").mkdir(parents=True)
    (root / "data").mkdir()
    hashes = [hashlib.sha256(png(seed)).hexdigest() for seed in range(4)]
    for seed, name in enumerate(hashes):
        if seed != 1:
            (root / "images" / f"{name}.png").write_bytes(png(77 if seed == 2 else seed))
    table = pa.table(
        {"image_url": [f"http://x.invalid/{i}" for i in range(4)], "image_sha256": hashes,
         "count": pa.array([3, 4, 5, 12], pa.int32()), "label": ["cats", "dogs", "cups", "{label}"]}
    )  # fmt: skip
    pq.write_table(table, root / "data" / "test-00000-of-00001.parquet")
    return root


@pytest.fixture
def answered() -> Callable[..., list[Prediction]]:
    """Predictions for records: right where the record's place is not in `wrong`."""

    def make(records: Sequence[Record], wrong: Sequence[int] = (), other: str = "Z") -> list[Prediction]:
        return [
            Prediction(
                r.id, r.task, "", other if i in wrong else r.answer, r.answer, i not in wrong, failed=False
            )
            for i, r in enumerate(records)
        ]

    return make


@pytest.fixture
def seen() -> Callable[[Image.Image, int], bool]:
    return shows
