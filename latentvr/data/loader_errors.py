"""Mistakes of the user that are found in a loader process, brought out whole.

The torch loader raises an error of its processes anew, with the whole traceback as the message. Here errors
come out as values, and are raised where the loader is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from torch.utils.data import Dataset

from latentvr.errors import UserError

_Item = TypeVar("_Item")


class ErrorsAsValues(Dataset[Any]):
    """A data set that gives an item's error in place of the item.

    Args:
        data: the items.
    """

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = data

    def __len__(self) -> int:
        """Number of items."""
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        """Give the item `index`, or the error that it raises."""
        try:
            return self.data[index]
        except UserError as error:
            return error


@dataclass(frozen=True)
class ErrorOrBatch:
    """A collator that lets errors through.

    Attributes:
        collate: makes a batch of items.
    """

    collate: Callable[[list[Any]], Any]

    def __call__(self, items: list[Any]) -> Any:
        """Make a batch, or give the first error among the items or of the collator."""
        for item in items:
            if isinstance(item, UserError):
                return item
        try:
            return self.collate(items)
        except UserError as error:
            return error


def raised(items: Iterable[_Item | UserError]) -> Iterator[_Item]:
    """Give what a loader gives, its errors raised.

    Args:
        items: of a loader.

    Yields:
        _Item: what is no error.

    Raises:
        UserError: the first error among them.
    """
    for item in items:
        if isinstance(item, UserError):
            raise item
        yield item
