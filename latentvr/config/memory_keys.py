"""Which keys to change, and to what, where the device has too little memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from latentvr.config.deepspeed_rules import deepspeed_problems, zero_stage
from latentvr.config.rl_rules import buffer_passes
from latentvr.config.schema import Recipe, Trainable

#: Keys that are named at most.
MOST = 3
#: Side in pixels below which no image is worth shrinking.
_SMALLEST = 28 * 28 * 4
#: Kinds of training that change the weights of whole matrices.
_WHOLE = ("language", "all")


@dataclass(frozen=True)
class Doing:
    """What training is busy with when memory runs out.

    Attributes:
        pixels: of the batch's largest image; None without images.
        stage: its name; in reinforcement one that the recipe does not have.
        longest: tokens of the longest sample in a packed row.
        processes: of the run.
    """

    pixels: int | None = None
    stage: str = ""
    longest: int = 0
    processes: int = 1


def for_training(recipe: Recipe, doing: Doing) -> list[str]:
    """Changes for a training step, those that cost least first.

    Args:
        recipe: all settings.
        doing: stage, batch and processes.

    Returns:
        Texts as they go on the command line, three at most; none where a device with more memory is all that
        is left.
    """
    out = [] if recipe.model.gradient_checkpointing else ["model.gradient_checkpointing=true"]
    out += _split(recipe, doing) + _fewer_rows(recipe) + _shorter_rows(recipe, doing.longest)
    return (out + _images(doing.pixels) + _adapters(recipe, doing.stage))[:MOST]


def _kind(recipe: Recipe, stage: str) -> Trainable:
    """What trains in a stage, or in reinforcement."""
    own = recipe.stages[stage].trainable if stage in recipe.stages else None
    return own or recipe.optim.trainable


def _split(recipe: Recipe, doing: Doing) -> list[str]:
    """DeepSpeed, or its next stage, where what trains is large and there are processes to share it."""
    if doing.processes == 1 or _kind(recipe, doing.stage) not in _WHOLE:
        return []
    file = {None: "zero2.json", 2: "zero3.json"}.get(zero_stage(recipe))
    path = f"launchers/deepspeed/{file}"
    changed = replace(recipe, train=replace(recipe.train, deepspeed=path))
    return [f"train.deepspeed={path}"] if file and not any(deepspeed_problems(changed)) else []


def _fewer_rows(recipe: Recipe) -> list[str]:
    """Half as many rows at once, and as many in an optimiser step."""
    train = recipe.train
    if train.batch_size == 1:
        return []
    fewer = train.batch_size // 2 if train.batch_size % 2 == 0 else 1
    times = train.batch_size // fewer
    accumulation = train.gradient_accumulation * times
    change = f"train.batch_size={fewer} with train.gradient_accumulation={accumulation}"
    if recipe.rl.steps_per_generation is not None:
        change += f" and rl.steps_per_generation={recipe.rl.steps_per_generation * times}"
    return [change]


def _shorter_rows(recipe: Recipe, longest: int) -> list[str]:
    """Packed rows of half the length, but long enough for the longest sample of the row."""
    if not recipe.data.packing:
        return []
    capacity = recipe.data.pack_length or recipe.data.max_length
    shorter = max(capacity // 2, longest, 1)
    return [f"data.pack_length={shorter}"] if shorter < capacity else []


def _adapters(recipe: Recipe, stage: str) -> list[str]:
    """Adapters alone, unless an earlier stage has trained the language model."""
    if _kind(recipe, stage) not in _WHOLE or recipe.train.deepspeed is not None:
        return []
    if stage not in recipe.stages:
        dropout = " with model.lora.dropout=0" if recipe.model.lora.dropout else ""
        return [f"optim.trainable=lora{dropout}"]
    own = recipe.stages[stage].trainable is not None
    others = recipe.optim.trainable if own else "lora"
    names = list(recipe.stages)
    before = names[: names.index(stage)]
    if any((recipe.stages[name].trainable or others) in _WHOLE for name in before):
        return []
    return [f"stages.{stage}.trainable=lora" if own else "optim.trainable=lora"]


def for_rollouts(recipe: Recipe, pixels: int | None) -> list[str]:
    """Changes for the writing of rollouts, for prompts whose largest image has so many pixels."""
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
    """Changes for a vision tower that encodes many images; `pixels` are those of the largest."""
    return _images(pixels) or ["model.dtype=bfloat16"]


def for_weights(dtype: str) -> list[str]:
    """Changes for a model whose weights alone are too many; `dtype` is that of the recipe."""
    return ["model.dtype=bfloat16"] if dtype == "float32" else []


def _answers(longest: int) -> list[str]:
    return [f"decode.max_new_tokens={longest // 2}"] if longest > 1 else []


def _images(pixels: int | None) -> list[str]:
    return [] if pixels is None or pixels // 2 < _SMALLEST else [f"model.max_pixels={pixels // 2}"]
