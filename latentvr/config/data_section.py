"""The section `data` of a recipe. The text under a field is its only documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class ToyConfig:
    """Scenes that the library makes itself, from real digit scans and photographs."""

    train: int = 1000
    """Training samples per task."""
    validation: int = 200
    """Validation samples per task."""
    test: int = 400
    """Test samples per task."""
    size: int = 64
    """Side of each image in pixels."""
    seed: int = 42
    """Seed of the scenes, apart from the seed of training."""


@dataclass
class DataConfig:
    """Where samples come from."""

    source: Literal["records", "toy"] = "records"
    """`records` reads the files below; `toy` makes scenes by `data.toy`."""
    train: str | None = None
    """Training records: JSONL, parquet, LLaVA JSON, TRL conversational JSONL, a `datasets` folder, or a meta
    file that names several of these."""
    validation: str | None = None
    """Validation records; needed where `train.keep` is `best`."""
    test: str | None = None
    """Test records, for `latentvr eval` without `--data`."""
    image_root: str | None = None
    """Folder that all image paths must stay under; null means the folder of the records file."""
    tasks: list[str] = field(default_factory=list)
    """Keep the records of these tasks alone; empty keeps all. For `toy`, the tasks to make."""
    limit: int | None = None
    """Keep the first so many records of each split; null keeps all. For `toy`, of each task in each split."""
    max_length: int = 8192
    """Longest sample in tokens; a longer one stops the run, naming the record."""
    packing: bool = False
    """Lay samples end to end in rows instead of padding them; no sample sees another, and `train.batch_size`
    counts rows. Supervised training alone. Not in the papers."""
    pack_length: int | None = None
    """Longest packed row in tokens; null means `max_length`. With `packing` alone."""
    pack_window: int = 1024
    """Neighbours in the order of samples that are fitted together into rows; with `packing` alone."""
    feature_cache: Literal["off", "memory", "disk"] = "off"
    """Encode each image once and keep the features of the frozen vision tower: `memory` for the run, `disk`
    in a folder that later runs of the same model and pixel settings share."""
    feature_cache_dir: str | None = None
    """Folder for `disk`, and with it alone; null means `latentvr/features` in the user's cache folder."""
    workers: int = 0
    """Loader processes; 0 loads in the main process."""
    toy: ToyConfig = field(default_factory=ToyConfig)
    """Settings of generated scenes."""
