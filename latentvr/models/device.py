"""The device that a setting means on this machine."""

from __future__ import annotations

import torch

from latentvr.errors import RecipeError


def choose_device(name: str) -> str:
    """Turn "auto", "cpu" or "cuda" into "cpu" or "cuda".

    Args:
        name: the setting; "auto" takes CUDA where there is any.

    Returns:
        The device.

    Raises:
        RecipeError: CUDA is asked for on a machine without it.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RecipeError(
            "expected a CUDA device, got none on this machine, at train.device=cuda; "
            "fix: set train.device=auto"
        )
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
