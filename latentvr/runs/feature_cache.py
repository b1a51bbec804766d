"""Where a run keeps the features of its frozen vision tower."""

from __future__ import annotations

import os
from pathlib import Path

from latentvr.config.schema import DataConfig
from latentvr.data.encode import Encoder
from latentvr.data.record import Source
from latentvr.models.latent_model import LatentModel
from latentvr.models.stored_features import StoredFeatures, store_features


def stored_features(
    model: LatentModel, source: Source, encoder: Encoder, config: DataConfig, with_answer: bool = True
) -> StoredFeatures | None:
    """Encode the pictures of a source to disk, those that no run has encoded yet.

    Args:
        model: its frozen vision tower encodes.
        source: the records and images.
        encoder: says which pictures a record has.
        config: the recipe's section.
        with_answer: whether answers are encoded too.

    Returns:
        The features; None where the recipe does not keep them on disk.

    Raises:
        SaveError: the folder cannot be written.
        UserError: images or records are wrong.
    """
    if config.feature_cache != "disk":
        return None
    folder = Path(config.feature_cache_dir).expanduser() if config.feature_cache_dir else default_folder()
    return store_features(model, source, encoder, folder, with_answer, config.workers)


def default_folder() -> Path:
    """`latentvr/features` in the user's cache folder, which `XDG_CACHE_HOME` names where it is set."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "latentvr" / "features"
