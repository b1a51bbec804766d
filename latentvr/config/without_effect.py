"""Settings of the data that nothing would look at, because of another one."""

from __future__ import annotations

from collections.abc import Iterator

from latentvr.config.data_section import DataConfig
from latentvr.config.schema import Recipe


def without_effect(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Find settings of packing and of the feature cache in a run that has neither.

    Args:
        recipe: all settings.

    Yields:
        tuple[str, str]: key and sentence.
    """
    data = recipe.data
    given = {"pack_length": data.pack_length, "pack_window": data.pack_window}
    for name, value in given.items():
        if not data.packing and value != getattr(DataConfig(), name):
            yield (
                f"data.{name}",
                f"expected data.packing=true with it, got false with {value}; "
                "fix: set data.packing=true, or leave the key out",
            )
    if data.feature_cache_dir is not None and data.feature_cache != "disk":
        yield (
            "data.feature_cache_dir",
            f"expected data.feature_cache=disk with it, got {data.feature_cache} with "
            f"{data.feature_cache_dir}; fix: set data.feature_cache=disk, or leave the key out",
        )
