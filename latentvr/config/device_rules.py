"""What a CPU cannot train."""

from __future__ import annotations

from collections.abc import Iterator

from latentvr.config.schema import Recipe


def device_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Find what cannot be trained on the CPU, where `train.device` asks for it.

    Args:
        recipe: all settings.

    Yields:
        tuple[str, str]: key and sentence.
    """
    if recipe.train.device != "cpu":
        return
    if recipe.model.dtype == "float16":
        yield (
            "model.dtype",
            "expected float32 or bfloat16 on the CPU, got float16; fix: set model.dtype=float32",
        )
    if recipe.model.attention == "flex":
        yield "model.attention", no_flex()


def no_flex() -> str:
    """The sentence about flex attention in training on a CPU."""
    return (
        "expected auto, varlen or mask for training on a CPU, where flex has no gradients, got flex; "
        "fix: set model.attention=varlen, or model.attention=mask"
    )
