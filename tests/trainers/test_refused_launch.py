"""Launches that a run cannot serve are refused in one sentence, before a checkpoint can be written."""

from __future__ import annotations

import importlib.util
from typing import Literal

import pytest

from latentvr.config.schema import Recipe, Trainable
from latentvr.data.record import Record
from latentvr.errors import UserError
from latentvr.runs.processes import join_processes
from latentvr.trainers.refused_launch import (
    RENDEZVOUS,
    require_deepspeed,
    require_even_images,
    require_launch,
)

installed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"
)


def _recipe(deepspeed: str | None) -> Recipe:
    recipe = Recipe()
    recipe.train.deepspeed = deepspeed
    return recipe


def test_fsdp_is_refused_in_any_case() -> None:
    for key in (None, "zero2.json"):
        with pytest.raises(UserError, match="expected whole weights in each process, got FSDP"):
            require_launch(_recipe(key), deepspeed=False, fsdp=True)


def test_deepspeed_has_to_be_asked_for_by_the_recipe() -> None:
    with pytest.raises(UserError, match=r"got it from the launcher's environment, at train.deepspeed=null"):
        require_launch(_recipe(None), deepspeed=True, fsdp=False)
    require_launch(_recipe("zero2.json"), deepspeed=True, fsdp=False)
    require_launch(_recipe(None), deepspeed=False, fsdp=False)


@pytest.mark.parametrize("name", ["DEEPSPEED", "FSDP"])
def test_the_environment_of_accelerate_is_seen_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(UserError, match=r"at the launcher|environment"):
        join_processes(_recipe(None))


@installed
def test_a_process_that_no_launcher_started_is_refused() -> None:
    with pytest.raises(
        UserError, match="expected a launch by torchrun or deepspeed, got a process without RANK"
    ):
        require_deepspeed({})
    with pytest.raises(UserError, match="without MASTER_PORT"):
        require_deepspeed(dict.fromkeys(RENDEZVOUS[:-1], "0"))
    require_deepspeed(dict.fromkeys(RENDEZVOUS, "0"))


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_a_missing_deepspeed_is_named() -> None:
    with pytest.raises(
        UserError, match=r"got none, at train.deepspeed; fix: pip install 'latentvr\[deepspeed\]'"
    ):
        require_deepspeed(dict.fromkeys(RENDEZVOUS, "0"))


@pytest.mark.parametrize(
    ("zero", "kind", "cache", "refused"),
    [
        ("zero2", "all", "off", True),
        ("zero2", "language", "off", False),
        ("zero3", "language", "off", True),
        ("zero3", "lora", "memory", False),
        (None, "all", "off", False),
    ],
)
def test_records_with_and_without_images_are_refused_where_the_tower_is_shared(
    zero: str | None, kind: Trainable, cache: Literal["off", "memory"], refused: bool
) -> None:
    """Breaks when: two processes wait for ever, as one has images in its batch and the other none."""
    recipe = Recipe()
    recipe.train.deepspeed = None if zero is None else f"launchers/deepspeed/{zero}.json"
    recipe.data.feature_cache = cache
    some, none = (Record("a", "t", "train", images, "?", "A") for images in (("a.png",), ()))
    for records, processes in (([some, none], 1), ([some, some], 2), ([none, none], 2)):
        require_even_images(recipe, ["tokens", kind], records, processes)
    if not refused:
        require_even_images(recipe, ["tokens", kind], [some, none], 2)
        return
    with pytest.raises(UserError) as error:
        require_even_images(recipe, ["tokens", kind], [some, none, none], 2)
    assert "got 2 of 3 records without" in str(error.value)
    assert ("data.feature_cache=memory" in str(error.value)) == (kind != "all")
