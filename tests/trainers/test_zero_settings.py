"""Settings of DeepSpeed say what the recipe says, and `TrainingArguments` carries them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from latentvr.attention.visibility import preset
from latentvr.config.schema import Precision, Recipe
from latentvr.reasoners.base import Stage
from latentvr.trainers.stage import StageRun, training_arguments
from latentvr.trainers.zero import forget_deepspeed
from latentvr.trainers.zero_settings import deepspeed_settings

SHIPPED = Path(__file__).parents[2] / "launchers/deepspeed"


def _recipe(path: str | None, dtype: Precision) -> Recipe:
    recipe = Recipe()
    recipe.train.deepspeed, recipe.train.device, recipe.model.dtype = path, "cpu", dtype
    recipe.train.batch_size, recipe.train.gradient_accumulation = 3, 5
    return recipe


def test_there_are_none_without_a_file() -> None:
    assert deepspeed_settings(_recipe(None, "bfloat16"), 64) is None


def test_sizes_follow_the_width_where_the_file_leaves_them_open(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    zero = {"stage": 3, "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": 7}
    file.write_text(json.dumps({"zero_optimization": zero}))
    settings = deepspeed_settings(_recipe(str(file), "float32"), 10)
    assert settings is not None
    wanted = {"stage": 3, "reduce_bucket_size": 100, "stage3_prefetch_bucket_size": 7}
    assert settings["zero_optimization"] == wanted
    assert "torch_autocast" not in settings


def test_what_the_recipe_gives_is_open_in_any_file(tmp_path: Path) -> None:
    """Breaks when: a file without `gradient_clipping` trains without clipping."""
    file = tmp_path / "ds.json"
    file.write_text('{"zero_optimization": {"stage": 2}}')
    settings = deepspeed_settings(_recipe(str(file), "float32"), 10)
    assert settings is not None
    open_ones = {name for name, value in settings.items() if value == "auto"}
    assert open_ones == {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
    }


def test_bfloat16_is_autocast_and_not_that_of_deepspeed() -> None:
    settings = deepspeed_settings(_recipe(str(SHIPPED / "zero2.json"), "bfloat16"), 64)
    assert settings is not None
    assert settings["bf16"] == settings["fp16"] == {"enabled": False}
    assert settings["torch_autocast"]["dtype"] == "bfloat16"
    assert settings["torch_autocast"]["lower_precision_safe_modules"] == []


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
@pytest.mark.parametrize("name", ["zero2", "zero3", "zero3_offload"])
def test_training_arguments_fill_in_the_rest(name: str, tmp_path: Path) -> None:
    recipe = _recipe(str(SHIPPED / f"{name}.json"), "bfloat16")
    run = StageRun(Stage("causal", preset("causal")), 0, 0, 4, 1e-3, True)
    try:
        arguments = training_arguments(recipe, run, tmp_path, deepspeed_settings(recipe, 64))
        filled = arguments.hf_deepspeed_config.config
    finally:
        forget_deepspeed()
    assert not arguments.bf16
    assert filled["train_micro_batch_size_per_gpu"] == 3
    assert filled["gradient_accumulation_steps"] == 5
    assert filled["gradient_clipping"] == recipe.optim.max_grad_norm
    assert '"auto"' not in json.dumps(filled)
