"""Toy data as a source of records, in memory or written to a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image

from latentvr.data.images import relative_name
from latentvr.data.prompt import build_prompt
from latentvr.data.record import Record, Source
from latentvr.data.toy.example import Draw, Example, Task
from latentvr.data.toy.scenes import Pixels, check_size
from latentvr.data.toy.sources import check_split
from latentvr.data.toy.tasks import BY_NAME
from latentvr.data.written import to_row
from latentvr.errors import RecordError


class Toy:
    """Seeded toy records with their images, all in memory.

    Example i of a task depends on the task, the split, the seed, the size and i alone; it stays the
    same when more examples or other tasks are asked for.

    Attributes:
        records: n_per_task records of each task, task by task.
    """

    records: Sequence[Record]

    def __init__(self, tasks: Sequence[str], split: str, n_per_task: int, seed: int, size: int = 64) -> None:
        """Draw all examples.

        Args:
            tasks: names out of `TASKS` and `PRETRAINING_TASKS`.
            split: "train", "validation" or "test"; no scan and no photo band is in two splits.
            n_per_task: examples of each task.
            seed: not negative; other seeds give other examples.
            size: side of every image in pixels, a multiple of 64.

        Raises:
            RecordError: a task, the split or the size is not allowed.
            UserError: scikit-learn or scikit-image is missing.
        """
        check_split(split)
        check_size(size)
        records: list[Record] = []
        self._images: dict[str, Pixels] = {}
        for name in tasks:
            task = _find(name)
            for i in range(n_per_task):
                example = _draw(task, split, seed, size, i)
                record = _record(f"{name}-{split}-{seed}-{i:05d}", name, split, example)
                self._images.update(zip(record.images, example.images, strict=True))
                records.append(record)
        self.records = tuple(records)

    def where(self, record: Record) -> str:
        """Name one of the records."""
        return f"record {record.id!r}"

    def images(self, record: Record) -> list[Image.Image]:
        """Give the record's images as RGB, in prompt order."""
        return [Image.fromarray(self._images[key]) for key in record.images]


def write(source: Source, folder: str | Path) -> Path:
    """Write a source as `records.jsonl` and PNG images, and give the path of the records.

    Args:
        source: its image names must be relative paths, as those of `Toy` are.
        folder: made if missing; it is the image root of the written records.

    Returns:
        The path of the written records.

    Raises:
        RecordError: the folder already holds records.
        ImageError: an image name leads out of the folder.
    """
    root = Path(folder)
    target = root / "records.jsonl"
    if target.exists():
        raise RecordError(
            f"expected a folder without records, got one, at {target}; fix: choose another folder"
        )
    root.mkdir(parents=True, exist_ok=True)
    for record in source.records:
        for name, image in zip(record.images, source.images(record), strict=True):
            path = root / relative_name(name, record.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, format="PNG")
    lines = (json.dumps(to_row(record), ensure_ascii=False) + "\n" for record in source.records)
    target.write_text("".join(lines), encoding="utf-8")
    return target


def corpus() -> list[str]:
    """Give every question, option and answer that a toy task can utter, each once, in a fixed order."""
    return list(dict.fromkeys(phrase for task in BY_NAME.values() for phrase in task.phrases()))


def _find(name: str) -> Task:
    if name not in BY_NAME:
        raise RecordError(
            f"expected a toy task of {', '.join(BY_NAME)}, got {name!r}, at toy data; fix: use one of them"
        )
    return BY_NAME[name]


def _draw(task: Task, split: str, seed: int, size: int, i: int) -> Example:
    stream = crc32(f"{task.name}/{split}".encode())
    block, place = divmod(i, task.answers)
    # Every answer occurs once in each block of `answers` examples.
    order = np.random.default_rng([stream, seed, block, 1]).permutation(task.answers)
    rng = np.random.default_rng([stream, seed, i, 0])
    return task.make(Draw(rng, split, size, int(order[place])))


def _record(name: str, task: str, split: str, example: Example) -> Record:
    return Record(
        id=name,
        task=task,
        split=split,
        images=tuple(f"images/{name}-{k}.png" for k in range(len(example.images))),
        prompt=build_prompt(example.question, example.choices if example.show_choices else ()),
        answer=example.answer,
        answer_type=example.answer_type,
        question=example.question,
        choices=example.choices,
        bboxes=example.boxes,
        meta=example.meta,
    )
