"""What to tell where the device has too little memory: phase, batch, and what to change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.errors import OutOfMemory

_ASKED = re.compile(r"Tried to allocate ([\d.]+ \w+)|you tried to allocate (\d+) bytes")


@dataclass(frozen=True)
class Work:
    """What a device is busy with.

    Attributes:
        phase: in words, such as "the backward pass".
        batch: its batch in words; "" where there is none.
        pixels: of the batch's largest image; None without images.
        after: what is said at the end of the sentence.
    """

    phase: str
    batch: str = ""
    pixels: int | None = None
    after: str = ""


@contextmanager
def enough_memory(
    work: Work | Callable[[], Work], keys: Callable[[int | None], Sequence[str]]
) -> Iterator[None]:
    """Turn a lack of memory inside into one sentence; other errors pass.

    Args:
        work: what is done inside, or what gives it when it is needed.
        keys: gives what to change, for the pixels of the largest image.

    Yields:
        None: nothing.

    Raises:
        OutOfMemory: the device has too little memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        found = work if isinstance(work, Work) else work()
        raise OutOfMemory(_sentence(found, keys(found.pixels), str(error))) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory is used up, on a GPU or in this machine."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _sentence(work: Work, keys: Sequence[str], message: str) -> str:
    asked = _ASKED.search(message)
    left = "none left"
    if asked is not None:
        size = asked[1] or f"{int(asked[2]) / 2**30:.2f} GiB"
        left = f"none left for the {size} asked for"
    at = f", at a batch of {work.batch}" if work.batch else ""
    fix = ", or ".join(keys) or "a device with more memory"
    verb = "set" if keys else "use"
    return f"expected memory enough for {work.phase}, got {left}{at}; fix: {verb} {fix}{work.after}"


def work_on(phase: str, batch: Mapping[str, Any], patch: int, after: str = "") -> Work:
    """Describe work on a batch.

    Args:
        phase: in words.
        batch: from `collate`.
        patch: side of a patch in pixels.
        after: what is said at the end.

    Returns:
        Phase, rows x tokens, images with their patches, and labels.
    """
    ids, labels = batch["input_ids"], batch["labels"]
    parts = [f"{ids.shape[0]:,} rows x {ids.shape[1]:,} tokens"]
    grids = [batch[key] for key in ("image_grid_thw", "reference_image_grid_thw") if key in batch]
    parts += _images(grids)
    count = int((labels != IGNORED).sum())
    if count:
        parts.append(f"{count:,} labels")
    return Work(phase, ", ".join(parts), largest(grids, patch), after)


def work_on_samples(phase: str, samples: Sequence[EncodedSample], patch: int, each: int = 1) -> Work:
    """Describe work on samples that are padded to the longest; each gives `each` rows."""
    longest = max((len(sample.ids) for sample in samples), default=0)
    grids = [grid for sample in samples for grid in (sample.grid, sample.reference_grid)]
    parts = [f"{each * len(samples):,} rows x {longest:,} tokens", *_images(grids)]
    return Work(phase, ", ".join(parts), largest(grids, patch))


def _images(grids: Sequence[Tensor]) -> list[str]:
    count = sum(len(grid) for grid in grids)
    patches = sum(int(grid.prod(-1).sum()) for grid in grids)
    return [f"{count:,} images of {patches:,} patches"] if count else []


def largest(grids: Sequence[Tensor], patch: int) -> int | None:
    """Pixels of the largest image.

    Args:
        grids: frames, rows and columns of patches, each (images, 3).
        patch: side of a patch in pixels.

    Returns:
        Its area; None without images.
    """
    sizes = [int(grid[:, 1:].prod(-1).max()) for grid in grids if len(grid)]
    return max(sizes) * patch * patch if sizes else None
