"""Small seeded pictures and questions for demos and tests, made of real scans and photographs."""

from __future__ import annotations

from latentvr.data.toy.scenes import COLOURS, GRID, NONE, REF, Cells, Scene, scene
from latentvr.data.toy.source import Toy, corpus, write
from latentvr.data.toy.sources import SPLITS
from latentvr.data.toy.tasks import PRETRAINING_TASKS, TASKS

__all__ = [
    "COLOURS",
    "GRID",
    "NONE",
    "PRETRAINING_TASKS",
    "REF",
    "SPLITS",
    "TASKS",
    "Cells",
    "Scene",
    "Toy",
    "corpus",
    "scene",
    "write",
]
