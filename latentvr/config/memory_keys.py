"""Which keys to change, and to what, where the device has too little memory."""

from __future__ import annotations

from latentvr.config.rl_rules import buffer_passes
from latentvr.config.schema import Recipe

#: Keys that are named at most.
MOST = 3
#: Side in pixels below which no image is worth shrinking.
_SMALLEST = 28 * 28 * 4


def for_training(recipe: Recipe, pixels: int | None) -> list[str]:
    """Changes for a training step, those that cost least first.

    Args:
        recipe: all settings.
        pixels: of the batch's largest image; None without images.

    Returns:
        Texts as they go on the command line, three at most.
    """
    train, out = recipe.train, []
    if not recipe.model.gradient_checkpointing:
        out.append("model.gradient_checkpointing=true")
    if train.batch_size > 1:
        fewer = train.batch_size // 2 if train.batch_size % 2 == 0 else 1
        times = train.batch_size // fewer
        accumulation = train.gradient_accumulation * times
        change = f"train.batch_size={fewer} with train.gradient_accumulation={accumulation}"
        if recipe.rl.steps_per_generation is not None:
            change += f" and rl.steps_per_generation={recipe.rl.steps_per_generation * times}"
        out.append(change)
    if recipe.data.packing:
        out.append(f"data.pack_length={(recipe.data.pack_length or recipe.data.max_length) // 2}")
    out += _images(pixels)
    if recipe.optim.trainable in ("language", "all") and train.deepspeed is None:
        out.append("optim.trainable=lora")
    return (out or ["optim.trainable=tokens"])[:MOST]


def for_rollouts(recipe: Recipe, pixels: int | None) -> list[str]:
    """Changes for the writing of rollouts; the arguments are those of `for_training`."""
    group = recipe.rl.num_generations
    rows = recipe.rl.rollout_batch_size or recipe.train.batch_size * buffer_passes(recipe)
    out = []
    if rows > group:
        out.append(f"rl.rollout_batch_size={max(1, rows // group // 2) * group}")
    out += _answers(recipe.decode.max_new_tokens) + _images(pixels)
    return out[:MOST]


def for_answers(batch_size: int, max_new_tokens: int, pixels: int | None) -> list[str]:
    """Changes for the writing of answers in validation, evaluation and diagnosis.

    Args:
        batch_size: prompts that are answered together.
        max_new_tokens: longest answer.
        pixels: of the batch's largest image; None without images.

    Returns:
        Texts as they go on the command line, three at most.
    """
    fewer = [f"eval.batch_size={batch_size // 2}"] if batch_size > 1 else []
    return (fewer + _images(pixels) + _answers(max_new_tokens))[:MOST]


def for_images(pixels: int | None) -> list[str]:
    """Changes for a vision tower that encodes many images; `pixels` as in `for_training`."""
    return _images(pixels) or ["model.dtype=bfloat16"]


def for_weights(dtype: str) -> list[str]:
    """Changes for a model whose weights alone are too many; `dtype` is that of the recipe."""
    return ["model.dtype=bfloat16"] if dtype == "float32" else []


def _answers(longest: int) -> list[str]:
    return [f"decode.max_new_tokens={longest // 2}"] if longest > 1 else []


def _images(pixels: int | None) -> list[str]:
    return [] if pixels is None or pixels // 2 < _SMALLEST else [f"model.max_pixels={pixels // 2}"]
