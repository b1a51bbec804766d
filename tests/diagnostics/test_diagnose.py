"""What a diagnosis gives: runs, reasons, and refusals.

Breaks when: a condition that does not apply is run or left out without a reason, seeds are not counted, or
records without regions stop a method that needs them in training alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latentvr.config.schema import DecodeConfig, EvalConfig, Recipe
from latentvr.data.toy import Toy
from latentvr.diagnostics.diagnose import Diagnosis, diagnose
from latentvr.diagnostics.interventions import INTERVENTIONS, NAMES, chosen
from latentvr.diagnostics.verdict import verdict
from latentvr.errors import RecipeError, UserError

RECORDS = 5


def _diagnose(model: Any, source: Any = None, names: tuple[str, ...] = (), **changes: Any) -> Diagnosis:
    source = source or Toy(["counting"], "test", RECORDS, 3)
    decode = DecodeConfig(max_new_tokens=4, latent_steps=2, **changes)
    recipe = Recipe(decode=decode, eval=EvalConfig(batch_size=2))
    return diagnose(model, source, recipe, chosen(names), seeds=2)


def test_each_condition_has_its_runs_or_a_reason(lab: Any, family: str) -> None:
    found = _diagnose(lab.model(family, "livr", latents=2, init_std=1.0))
    assert tuple(condition.name for condition in found.conditions) == NAMES
    runs = {condition.name: len(condition.runs) for condition in found.conditions}
    reasons = {condition.name: condition.reason for condition in found.conditions if condition.reason}
    assert set(reasons) == {"oracle", "random_box", "markers_only"}
    assert runs == {i.name: 0 if i.name in reasons else 1 + i.drawn for i in INTERVENTIONS}
    assert len(found.written) == len(found.readings) == RECORDS
    assert [tuple(latents.shape) for latents in found.latents()] == [(2, 128)] * RECORDS
    ids = [prediction.id for prediction in found.baseline.predictions]
    assert all([p.id for p in run.predictions] == ids for c in found.conditions for run in c.runs)


def test_a_method_without_latents(lab: Any, family: str) -> None:
    found = _diagnose(lab.model(family))
    assert not found.has_latents
    assert {c.name for c in found.conditions if c.runs} == {"identity", "bottleneck"}
    assert {c.reason for c in found.conditions if not c.runs} == {"the method has no latents"}
    assert verdict({}, found.has_latents).word == "no latents"


def test_spans_that_are_never_opened(lab: Any, family: str) -> None:
    """There is nothing to replace, but markers and sight can be taken; records need no regions."""
    source = Toy(["counting"], "test", RECORDS, 3)
    source.records = tuple(replace(record, bboxes=()) for record in source.records)
    found = _diagnose(lab.model(family, "lvr"), source)
    assert not any(row.spans for row in found.written)
    assert {c.name for c in found.conditions if c.runs} == {
        "identity", "markers_only", "drop", "bottleneck", "bottleneck_drop",
    }  # fmt: skip
    assert {c.reason for c in found.conditions if not c.runs} == {"no answer has latents"}


def test_the_bottleneck_of_a_model_that_answers_under_it(lab: Any) -> None:
    model = lab.model("tiny-qwen3-vl", "livr", latents=2)
    found = _diagnose(model, None, ("bottleneck", "bottleneck_drop", "drop"), visibility="bottleneck")
    reasons = {condition.name: condition.reason for condition in found.conditions}
    assert "it is the baseline" in reasons["bottleneck"]
    assert "it is drop" in reasons["bottleneck_drop"]
    assert reasons["drop"] == reasons["identity"] == ""


def test_answers_drawn_at_random_are_refused(lab: Any) -> None:
    with pytest.raises(RecipeError, match="expected greedy answers"):
        _diagnose(lab.model("tiny-qwen3-vl"), do_sample=True)


def test_names() -> None:
    assert [i.name for i in chosen(["drop", "zeros"])] == ["identity", "zeros", "drop"]
    with pytest.raises(UserError, match="did you mean zeros"):
        chosen(["zero"])
