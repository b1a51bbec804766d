"""Training samples as the rows that a recipe asks for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from latentvr.config.schema import Recipe
from latentvr.data.dataset import EncodedDataset
from latentvr.data.encode import Encoder
from latentvr.data.lengths import token_lengths
from latentvr.data.packing import Packing
from latentvr.data.record import Source
from latentvr.errors import UserError
from latentvr.models.shared_work import gathered, rank, together

log = logging.getLogger(__name__)


def staged(recipe: Recipe, data: EncodedDataset) -> EncodedDataset | Packing:
    """Give the samples as they are, or in rows with `data.packing`; `of_stage` tells them stage by stage.

    Args:
        recipe: all settings.
        data: encoded training records.

    Returns:
        The samples or the rows.

    Raises:
        UserError: a sample cannot be measured, or is longer than a row.
    """
    return packing(recipe, data) if recipe.data.packing else data


def packing(recipe: Recipe, data: EncodedDataset) -> Packing:
    """Measure all samples and lay them into rows.

    Args:
        recipe: all settings.
        data: encoded training records.

    Returns:
        The rows.

    Raises:
        UserError: a sample cannot be measured, or is longer than a row.
    """
    settings, start = recipe.data, time.perf_counter()
    log.info("packing: measuring %d samples", len(data))
    lengths = _lengths(data)
    seconds = time.perf_counter() - start
    capacity = settings.pack_length or settings.max_length
    out = Packing(data, lengths, capacity, settings.pack_window, recipe.train.seed)
    log.info("packing: %s; lengths took %.1f s", out.filling(0), seconds)
    return out


def _lengths(data: EncodedDataset) -> list[int]:
    """Measure all samples, each process every so many of them; all have all lengths, or raise the same."""
    if data.keep:  # encoded already, in each process
        return token_lengths(data)
    ranks = len(gathered(None))
    parts = gathered(together(lambda: token_lengths(data, rank(), ranks)))
    return [parts[i % ranks][i // ranks] for i in range(len(data))]


def counted(
    recipe: Recipe, source: Source, encoder: Callable[[], Encoder]
) -> tuple[Callable[[int], int] | None, str]:
    """Count the rows that a run would train on.

    Args:
        recipe: all settings.
        source: training records.
        encoder: makes what encodes them.

    Returns:
        What gives the number of rows of the stage with an index, and how full they are in words; None and the
        reason where tokenizer or image settings are not at hand.

    Raises:
        UserError: a sample cannot be measured, or is longer than a row.
    """
    try:
        made = encoder()
    except UserError as error:
        return None, f"rows and steps: not known, {error}"
    rows = packing(recipe, EncodedDataset(source, made))
    return rows.count, f"packed, as in the first stage: {rows.filling(0)}"
