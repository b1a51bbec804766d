"""Which errors are a lack of memory, and what the sentence says."""

from __future__ import annotations

import pytest
import torch

from latentvr.config.memory_keys import Doing, for_training
from latentvr.config.schema import Recipe, StageConfig
from latentvr.errors import OutOfMemory
from latentvr.models.out_of_memory import Work, enough_memory

CPU = "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to "


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 MiB."), "512.00 MiB"),
        (RuntimeError(f"{CPU}allocate 3221225472 bytes. Error code 12"), "3.00 GiB"),
    ],
)
def test_both_kinds_of_memory_are_known(error: RuntimeError, size: str) -> None:
    with pytest.raises(OutOfMemory) as told, enough_memory(Work("a phase", "1 row"), lambda _: ["a.b=1"]):
        raise error
    assert str(told.value) == (
        f"expected memory enough for a phase, got none left for the {size} asked for, at a batch of 1 row; "
        "fix: set a.b=1"
    )


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), enough_memory(Work("a phase"), lambda _: []):
        raise RuntimeError("shapes differ")


def test_values_follow_from_the_present_ones() -> None:
    recipe = Recipe()
    recipe.train.batch_size, recipe.train.gradient_accumulation = 6, 5
    assert for_training(recipe, Doing(1_000_000)) == [
        "model.gradient_checkpointing=true",
        "train.batch_size=3 with train.gradient_accumulation=10",
        "model.max_pixels=500000",
    ]
    recipe.model.gradient_checkpointing, recipe.train.batch_size = True, 3
    recipe.data.packing, recipe.data.pack_length = True, 4096
    assert for_training(recipe, Doing()) == [
        "train.batch_size=1 with train.gradient_accumulation=15",
        "data.pack_length=2048",
    ]
    recipe.train.batch_size, recipe.data.packing, recipe.optim.trainable = 1, False, "language"
    recipe.stages = {"causal": StageConfig()}
    assert for_training(recipe, Doing(stage="causal")) == ["optim.trainable=lora"]


def spent(trainable: str = "lora", **stages: str | None) -> Recipe:
    """A recipe of which the cheap changes are made already."""
    recipe = Recipe()
    recipe.model.gradient_checkpointing, recipe.train.batch_size = True, 1
    recipe.optim.trainable = trainable  # type: ignore[assignment]
    made = stages or {"causal": None}
    recipe.stages = {name: StageConfig(trainable=kind) for name, kind in made.items()}  # type: ignore[arg-type]
    return recipe


def test_nothing_is_proposed_that_would_be_refused() -> None:
    assert for_training(spent(), Doing(stage="causal")) == []
    recipe = spent()
    recipe.data.packing, recipe.data.pack_length = True, 400
    assert for_training(recipe, Doing(longest=300)) == ["data.pack_length=300"]
    assert for_training(recipe, Doing(longest=400)) == []
    recipe.data.pack_length = 1
    assert for_training(recipe, Doing()) == []


def test_the_stage_says_what_trains() -> None:
    own = spent("lora", first=None, second="language")
    assert for_training(own, Doing(stage="first")) == []
    assert for_training(own, Doing(stage="second")) == ["stages.second.trainable=lora"]
    after = spent("lora", first="all", second="language")
    assert for_training(after, Doing(stage="second")) == []  # its checkpoint would lack the first's weights
    assert for_training(spent("all"), Doing(stage="grpo")) == [
        "optim.trainable=lora with model.lora.dropout=0"
    ]


def test_several_processes_may_split_what_trains() -> None:
    recipe = spent("language")
    zero = "train.deepspeed=launchers/deepspeed/zero{}.json"
    assert for_training(recipe, Doing(stage="causal", processes=2))[0] == zero.format(2)
    recipe.train.deepspeed = "launchers/deepspeed/zero2.json"
    assert for_training(recipe, Doing(stage="causal", processes=2)) == [zero.format(3)]
    recipe.train.deepspeed = "launchers/deepspeed/zero3.json"
    assert for_training(recipe, Doing(stage="causal", processes=2)) == []
    assert for_training(spent("lora"), Doing(stage="causal", processes=2)) == []
