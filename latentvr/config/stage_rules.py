"""What the stages of supervised training can get wrong."""

from __future__ import annotations

from collections.abc import Iterator

from latentvr.config.load import Resolved
from latentvr.config.provenance import DEFAULT
from latentvr.config.schema import Recipe


def stage_problems(resolved: Resolved) -> Iterator[tuple[str, str]]:
    """Find stages, and settings with them, that no supervised run can use.

    Args:
        resolved: the recipe.

    Yields:
        tuple[str, str]: key and sentence.
    """
    recipe = resolved.recipe
    yield from _lora(recipe)
    yield from _trainable_order(recipe)
    yield from _cached_features(recipe)
    yield from _packing(recipe)
    if not any(
        (stage.epochs if stage.steps is None else stage.steps) > 0 for stage in recipe.stages.values()
    ):
        listed = ", ".join(recipe.stages)
        yield "stages", f"expected a stage that trains, got {listed} with 0 epochs; fix: set one's epochs"
    yield from _named_visibilities(resolved)


def _lora(recipe: Recipe) -> Iterator[tuple[str, str]]:
    uses = any((stage.trainable or recipe.optim.trainable) == "lora" for stage in recipe.stages.values())
    if uses:
        yield from no_adapters(recipe)


def no_adapters(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield key and sentence where adapters train, and no layer would get one."""
    if not recipe.model.lora.modules:
        yield "model.lora.modules", "expected at least one layer name, got []; fix: leave the key out"


def _trainable_order(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """A checkpoint of adapters or rows alone would leave out what an earlier stage changed in the weights."""
    whole = False
    for name, stage in recipe.stages.items():
        kind = stage.trainable or recipe.optim.trainable
        if whole and kind not in ("language", "all"):
            yield (
                f"stages.{name}.trainable",
                f"expected language or all after a stage that trains the language model, got {kind}; "
                "fix: set it to language, or move the stage before the other",
            )
        whole = whole or kind in ("language", "all")


def _cached_features(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Features that were computed once are those of the tower before it trained."""
    trains = [n for n, s in recipe.stages.items() if (s.trainable or recipe.optim.trainable) == "all"]
    if trains and recipe.data.feature_cache != "off":
        yield (
            "data.feature_cache",
            f"expected off where a stage trains the vision tower, got {recipe.data.feature_cache} with "
            f"stages.{trains[0]}.trainable=all; fix: set data.feature_cache=off, or train language",
        )


def _packing(recipe: Recipe) -> Iterator[tuple[str, str]]:
    data = recipe.data
    if data.packing and recipe.model.attention == "two_pass":
        yield (
            "model.attention",
            "expected auto, varlen, mask or flex with data.packing=true, got two_pass, which takes one "
            "sample per row; fix: leave the key out",
        )


def _named_visibilities(resolved: Resolved) -> Iterator[tuple[str, str]]:
    """A stage called like a visibility, and left at the default, was meant to have it."""
    from latentvr.attention.visibility import PRESETS

    for name, stage in resolved.recipe.stages.items():
        key = f"stages.{name}.visibility"
        if name in PRESETS and stage.visibility != name and resolved.provenance[key] == DEFAULT:
            yield (
                key,
                f"expected it in a stage called {name!r}, got none; fix: add 'visibility: {name}' to it",
            )
