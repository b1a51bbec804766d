"""Work on many items that processes share: each has its part, none is far behind, and all hear of a mistake.

An error of one process is raised by all of them, so that the others neither wait for it in vain nor end in
an error about connections.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from latentvr.data.loader_errors import ErrorsAsValues, raised
from latentvr.errors import LatentVRError

log = logging.getLogger(__name__)
#: Items after which processes wait for each other, so that none is far behind at the end.
_IN_STEP = 256
#: Seconds between two lines about progress.
_EVERY = 30.0
_Done = TypeVar("_Done")


def shared(
    items: Dataset[Any], size: int, workers: int, work: Callable[[Any], _Done], verb: str
) -> list[_Done]:
    """Do this process's share of some work, in step with the others.

    Args:
        items: all items.
        size: their number.
        workers: processes that load items.
        work: is done on each item.
        verb: what is said of items that are done.

    Returns:
        What the work gave for each item of the share: those from this process's rank on, by the number of
        processes.

    Raises:
        LatentVRError: an item or the work on it is wrong, here or in another process.
    """
    ranks = distributed.get_world_size() if distributed.is_initialized() else 1
    loader: DataLoader[Any] = DataLoader(
        ErrorsAsValues(items),
        batch_size=None,
        sampler=range(rank(), size, ranks),
        num_workers=workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # the loader draws a seed, which must not come from the run's
    )
    done: list[_Done] = []
    found = raised(loader)
    told = time.monotonic()

    def some() -> bool:
        """Go on to where processes wait for each other, and tell whether there is more."""
        nonlocal told
        for item in found:
            done.append(work(item))
            if time.monotonic() - told > _EVERY and rank() == 0:
                told = time.monotonic()
                log.info("features: %d of %d %s", min(len(done) * ranks, size), size, verb)
            # All have the first size // ranks items, and some have one more.
            if len(done) % _IN_STEP == 0 and len(done) <= size // ranks:
                return True
        return False

    while together(some):
        pass
    return done


def together(work: Callable[[], _Done]) -> _Done:
    """Do something that all processes do, and wait for the others.

    Args:
        work: of this process.

    Returns:
        What the work gave.

    Raises:
        LatentVRError: that of the first process that has one, in all of them.
    """
    error: LatentVRError | None = None
    try:
        out = work()
    except LatentVRError as wrong:
        error = wrong
    for other in gathered(error):
        if other is not None:
            raise other
    return out


def gathered(value: _Done) -> list[_Done]:
    """Give the values of all processes, by rank."""
    if not distributed.is_initialized():
        return [value]
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, value)
    return parts


def rank() -> int:
    """This process's number among those that share the work."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def _as_it_is(item: Any) -> Any:
    return item
