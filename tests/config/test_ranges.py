"""No number of the schema is without a range, and no range without a number."""

from __future__ import annotations

import math

import pytest

from latentvr.config.fields import leaves, tree
from latentvr.config.ranges import RANGES, Range, out_of_range
from latentvr.config.schema import ReasonerConfig, Recipe, RLConfig, StageConfig


def test_every_number_has_a_range_and_its_default_lies_in_it() -> None:
    numbers = {
        leaf.key.replace("<name>", "*"): leaf
        for leaf in leaves(tree(ReasonerConfig))
        if leaf.kind in (int, float) and not leaf.key.startswith("reasoner.")
    }
    assert set(numbers) == set(RANGES)
    defaults = {key: leaf.default if leaf.is_list else [leaf.default] for key, leaf in numbers.items()}
    assert all(value is None or value in RANGES[key] for key, values in defaults.items() for value in values)


@pytest.mark.parametrize("value", [math.nan, -1, 1.0])
def test_an_interval_refuses(value: float) -> None:
    assert value not in Range(low=0, high=1, open_high=True)


def test_stages_are_checked_by_name() -> None:
    recipe = Recipe(stages={"a": StageConfig(epochs=-1), "b": StageConfig(steps=-2)})
    assert [key for key, _ in out_of_range(recipe)] == ["stages.a.epochs", "stages.b.steps"]


def test_each_number_of_a_list_is_checked() -> None:
    recipe = Recipe(rl=RLConfig(attention_layers=[1, -1], reward_weights=[1.0, math.nan]))
    assert list(out_of_range(recipe)) == [
        ("rl.reward_weights", "expected a finite number, got nan; fix: write a number in this range"),
        ("rl.attention_layers", "expected at least 0, got -1; fix: write a number in this range"),
    ]
