"""One candidate to bytes that can be written, in this process or in workers."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from latentvr.data.builders.builder import Builder, Candidate, Rejection, Sample
from latentvr.data.builders.hashes import file_sha256
from latentvr.data.builders.rules import Rules

#: Candidates under way per worker, so that none waits for the main process.
_AHEAD = 4


@dataclass(frozen=True)
class Picture:
    """An image of a record, ready to be written.

    Attributes:
        ending: of its file, such as ".png".
        content: bytes, or the file that is copied.
    """

    ending: str
    content: bytes | Path


@dataclass(frozen=True)
class Outcome:
    """What a candidate gave.

    Attributes:
        sample: without its images and inputs.
        pictures: in prompt order.
        inputs: SHA-256 of each file that it was made of, by its path below the root.
    """

    sample: Sample
    pictures: tuple[Picture, ...]
    inputs: dict[str, str]


@dataclass(frozen=True)
class Recipe:
    """All that a builder is made of.

    Attributes:
        builder: its class.
        root: the data set's folder.
        rules: its parameters.
        seed: of all draws.
    """

    builder: type[Builder]
    root: Path
    rules: Rules
    seed: int

    def open(self) -> Builder:
        """Make the builder."""
        return self.builder(self.root, self.rules, self.seed)


def make(builder: Builder, split: str, candidate: Candidate) -> Outcome | Rejection:
    """Make what is written of a candidate.

    Args:
        builder: of the task.
        split: of the candidate.
        candidate: one of the split's.

    Returns:
        A rejection, or a sample with its pictures.
    """
    made = builder.make(split, candidate, builder.draws(split, candidate.key))
    if isinstance(made, Rejection):
        return made
    pictures = tuple(_picture(image) for image in made.images)
    inputs = {relative(path, builder.root): file_sha256(path) for path in made.inputs}
    bare = Sample(**{**vars(made), "images": (), "inputs": ()})
    return Outcome(bare, pictures, inputs)


def relative(path: Path, root: Path) -> str:
    """Path from the root with "/" between folders; with ".." where a second folder lies beside it."""
    return Path(os.path.relpath(path, root)).as_posix()


def _picture(image: Image.Image | Path | bytes) -> Picture:
    if isinstance(image, Path):
        return Picture(image.suffix.lower(), image)
    if isinstance(image, bytes):
        kind = Image.open(io.BytesIO(image)).format or "bin"
        return Picture({"JPEG": ".jpg"}.get(kind, f".{kind.lower()}"), image)
    out = io.BytesIO()
    image.save(out, format="PNG")
    return Picture(".png", out.getvalue())


Submit = Callable[[str, Candidate], Callable[[], Outcome | Rejection]]


@contextmanager
def workshop(recipe: Recipe, builder: Builder, workers: int) -> Iterator[Submit]:
    """Give a function that starts making a candidate and returns how to get the outcome.

    Args:
        recipe: what workers make their builder of.
        builder: of this process, which does the work where there is one worker.
        workers: processes.

    Yields:
        Submit: split and candidate to a call that waits for the outcome.
    """
    if workers == 1:
        yield lambda split, candidate: lambda: make(builder, split, candidate)
        return
    # Not a fork: the main process may have threads, and a copy of them in mid-air hangs.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _open_builder, (recipe,))
    try:

        def submit(split: str, candidate: Candidate) -> Callable[[], Outcome | Rejection]:
            future: Future[Outcome | Rejection] = pool.submit(_make_in_worker, split, candidate)
            return future.result

        yield submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(workers: int) -> int:
    """How many candidates are under way at a time."""
    return 1 if workers == 1 else _AHEAD * workers


_BUILDER: deque[Builder] = deque(maxlen=1)


def _open_builder(recipe: Recipe) -> None:
    _BUILDER.append(recipe.open())


def _make_in_worker(split: str, candidate: Candidate) -> Outcome | Rejection:
    return make(_BUILDER[0], split, candidate)


def row_of(sample: Sample) -> dict[str, Any]:
    """Fields of a sample that the journal keeps."""
    return {
        "prompt": sample.prompt, "answer": sample.answer, "answer_type": sample.answer_type,
        "question": sample.question, "choices": list(sample.choices), "label": sample.label or sample.answer,
        "bboxes": [{"image": box.image, "box": list(box.box)} for box in sample.bboxes],
        "response": sample.response, "task": sample.task, "meta": sample.meta,
    }  # fmt: skip
