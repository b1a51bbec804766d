"""What a file of DeepSpeed settings can get wrong, found without torch and without DeepSpeed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentvr.config.schema import Recipe
from latentvr.config.shipped import shipped_launcher
from latentvr.errors import RecipeError

STAGES = (2, 3)
KEY = "train.deepspeed"
#: Sections that would overrule the recipe, with the keys of the recipe that say the same.
OVERRULING = {
    "optimizer": "optim",
    "scheduler": "optim.schedule",
    "fp16": "model.dtype",
    "bf16": "model.dtype",
    "torch_autocast": "model.dtype",
    "tensor_parallel": "train.batch_size",
}

#: Numbers that the recipe gives; left out, DeepSpeed would not clip, or would refuse the file.
FROM_RECIPE = {
    "train_batch_size": "train.batch_size",
    "train_micro_batch_size_per_gpu": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "gradient_clipping": "optim.max_grad_norm",
}

Found = Iterator[tuple[str, str]]


def read_settings(path: str) -> dict[str, Any]:
    """Read a file of DeepSpeed settings.

    Args:
        path: of a JSON file, from the current folder; where there is none at `launchers/…`, the shipped one.

    Returns:
        Its settings, with `zero_optimization.stage` among them.

    Raises:
        RecipeError: there is no such file, or it holds no such settings.
    """
    try:
        settings = json.loads(_file(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _refused("a file", "nothing there", path, "give the path of one") from error
    except OSError as error:
        got = f"an error ({str(error.strerror).lower()})"
        raise _refused("a file that can be read", got, path, "give the path of one") from error
    except ValueError as error:
        raise _refused("valid JSON", f"an error ({error})", path, "mend the file") from error
    zero = settings.get("zero_optimization") if isinstance(settings, dict) else None
    stage = zero.get("stage") if isinstance(zero, dict) else None
    if stage not in STAGES or isinstance(stage, bool):
        fix = "set it, or use launchers/deepspeed/zero2.json or zero3.json"
        raise _refused("zero_optimization.stage 2 or 3", repr(stage), path, fix)
    return dict(settings)


def _file(path: str) -> Path:
    """The file, or the shipped one that documentation calls by this path, without a source tree around."""
    file = Path(path)
    parts = file.parts
    if file.exists() or parts[:1] != ("launchers",):
        return file
    return shipped_launcher("/".join(parts[1:])) or file


def zero_stage(recipe: Recipe) -> int | None:
    """Tell what DeepSpeed splits: 2 gradients and optimiser, 3 the weights too; None without DeepSpeed.

    Args:
        recipe: all settings.

    Returns:
        The stage of ZeRO.

    Raises:
        RecipeError: the file of `train.deepspeed` cannot be used.
    """
    path = recipe.train.deepspeed
    return None if path is None else int(read_settings(path)["zero_optimization"]["stage"])


def deepspeed_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Find what no run with DeepSpeed can use; without `train.deepspeed` there is nothing to find.

    Args:
        recipe: all settings.

    Yields:
        tuple[str, str]: key and sentence.
    """
    path = recipe.train.deepspeed
    if path is None:
        return
    try:
        settings = read_settings(path)
    except RecipeError as error:
        yield KEY, str(error)
        return
    yield from _overruling(settings, path)
    yield from _optimiser(settings, path)
    if recipe.model.dtype == "float16":
        yield (
            "model.dtype",
            "expected float32 or bfloat16 with train.deepspeed, got float16; fix: set model.dtype=bfloat16",
        )
    if recipe.model.compile:
        yield (
            "model.compile",
            "expected false with train.deepspeed, whose hooks a compiled layer leaves out, got true; "
            "fix: set model.compile=false",
        )
    if settings["zero_optimization"]["stage"] == 3:
        yield from _uneven_passes(recipe)


def _overruling(settings: dict[str, Any], path: str) -> Found:
    """Sections that say otherwise what the recipe says."""
    for name, key in OVERRULING.items():
        section = settings.get(name)
        off = isinstance(section, dict) and section.get("enabled") in (False, "auto")
        if section is not None and not off:
            yield KEY, f"expected no section {name!r}, got one, at {path}; fix: remove it and set {key}"
    for name, key in FROM_RECIPE.items():
        value = settings.get(name, "auto")
        if value != "auto":
            yield (
                KEY,
                f"expected {name} 'auto', as the recipe gives it, got {value!r}, at {path}; "
                f'fix: set it to "auto", and {key} to what is wanted',
            )


def _optimiser(settings: dict[str, Any], path: str) -> Found:
    """AdamW of torch over memory of this machine is what checkpoints are written of and read into."""
    if settings.get("zero_force_ds_cpu_optimizer", False):
        yield (
            KEY,
            f"expected zero_force_ds_cpu_optimizer false, got true, at {path}; fix: set it to false, as the "
            "optimiser is that of the recipe",
        )
    zero = settings["zero_optimization"]
    if not zero.get("compute_grad_norm", True):
        yield (
            KEY,
            "expected zero_optimization.compute_grad_norm true, as gradients are clipped by their norm, got "
            f"false, at {path}; fix: leave it out",
        )
    for name in ("offload_optimizer", "offload_param"):
        section = zero.get(name)
        if isinstance(section, dict) and section.get("device") == "nvme":
            yield KEY, f"expected {name}.device cpu or none, got nvme, at {path}; fix: set it to cpu"


def _uneven_passes(recipe: Recipe) -> Found:
    """With weights that are split, each pass is one of all processes, and they need equally many."""
    if recipe.rl.replay == "regenerated":
        yield (
            "rl.replay",
            "expected recorded with ZeRO stage 3, where processes cannot differ in their number of passes, "
            "got regenerated; fix: set rl.replay=recorded, or use stage 2",
        )
    reasoner = recipe.reasoner
    name = reasoner.feeds_own_latents
    if name is not None:
        yield (
            f"reasoner.{name}",
            "expected given latents with ZeRO stage 3, where processes cannot differ in their number of "
            f"passes, got {getattr(reasoner, name)!r}, which feeds predicted ones; "
            f"fix: set reasoner.{name}={getattr(type(reasoner)(), name)}, or use stage 2",
        )


def _refused(expected: str, got: str, path: str, fix: str) -> RecipeError:
    return RecipeError(f"expected {expected} of DeepSpeed settings, got {got}, at {path}; fix: {fix}")
