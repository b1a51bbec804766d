"""The sources of a recipe's splits."""

from __future__ import annotations

from pathlib import Path

from latentvr.config.schema import DataConfig
from latentvr.data import toy
from latentvr.data.readers import open_source
from latentvr.data.record import Source
from latentvr.errors import RecipeError, RecordError


def open_split(config: DataConfig, split: str) -> Source:
    """Open the records of a split.

    Args:
        config: the recipe's section.
        split: "train", "validation" or "test".

    Returns:
        The records and their images.

    Raises:
        RecipeError: the recipe names no data for this split.
        RecordError: the data are wrong.
    """
    if config.source == "toy":
        tasks = config.tasks or list(toy.TASKS)
        count = min(getattr(config.toy, split), config.limit or getattr(config.toy, split))
        return toy.Toy(tasks, split, count, config.toy.seed, config.toy.size)
    path = getattr(config, split)
    if path is None:
        raise RecipeError(
            f"expected records for the split {split!r}, got none, at data.{split}; fix: set data.{split}=PATH"
        )
    root = Path(config.image_root) if config.image_root else None
    return open_source(Path(path), root, split=split, tasks=config.tasks, limit=config.limit)


def open_training(config: DataConfig) -> Source:
    """Open the training records.

    Args:
        config: the recipe's section.

    Returns:
        The records and their images.

    Raises:
        RecordError: there are none, or the data are wrong.
    """
    source = open_split(config, "train")
    if not source.records:
        raise RecordError(
            f"expected at least one training record, got none, at data.train={config.train}; "
            "fix: check data.tasks and the file"
        )
    return source
