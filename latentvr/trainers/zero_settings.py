"""DeepSpeed settings of a run: the recipe's file, with everything that the recipe itself says filled in."""

from __future__ import annotations

from typing import Any

from latentvr.config.deepspeed_rules import FROM_RECIPE, read_settings
from latentvr.config.schema import Recipe


def deepspeed_settings(recipe: Recipe, width: int) -> dict[str, Any] | None:
    """Read the file of `train.deepspeed` and complete it.

    Weights keep the number formats that the recipe gives them: what trains is float32, so that checkpoints
    hold what the optimiser has, and with `model.dtype=bfloat16` the frozen rest is bfloat16 and the forward
    pass runs under autocast, as it does without DeepSpeed.

    Args:
        recipe: all settings.
        width: of the language model, which sizes of buckets follow where the file leaves them open.

    Returns:
        Settings for `transformers.TrainingArguments`; None without DeepSpeed.

    Raises:
        RecipeError: the file cannot be used.
    """
    path = recipe.train.deepspeed
    if path is None:
        return None
    settings = read_settings(path)
    zero = settings["zero_optimization"] = dict(settings["zero_optimization"])
    sizes = {
        "reduce_bucket_size": width * width,
        "stage3_prefetch_bucket_size": int(0.9 * width * width),
        "stage3_param_persistence_threshold": 10 * width,
    }
    zero.update({key: value for key, value in sizes.items() if zero.get(key) == "auto"})
    settings.update(dict.fromkeys(FROM_RECIPE, "auto"))
    settings["zero_allow_untested_optimizer"] = True  # AdamW of torch
    settings["zero_force_ds_cpu_optimizer"] = False
    settings["bf16"] = settings["fp16"] = {"enabled": False}
    if recipe.model.dtype == "bfloat16":
        # An empty list: gradients are averaged in the format of their weights.
        settings["torch_autocast"] = {
            "enabled": True,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        }
    return settings
