"""Latent visual reasoning for multimodal models: training, evaluation and inference.

Importing the package loads neither torch nor transformers; `latentvr.load` does so when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentvr.runs.inference import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        return importlib.import_module("latentvr.runs.inference").load
    raise AttributeError(f"module 'latentvr' has no attribute {name!r}")
