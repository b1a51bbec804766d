"""Conditions as a diagnosis runs them: what is taken away is gone, and no record knows of another.

Breaks when: a marker or a slot is left where it should go, an image is seen through a text that was written
in its sight, or a record's result, or what is drawn for it, depends on its batch.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from latentvr.attention.visibility import BOTTLENECK
from latentvr.diagnostics.diagnose import diagnose
from latentvr.diagnostics.interventions import chosen

#: Rounding of a latent that is fed back grows with each further one.
NEAR = 5e-3
ALONE = ("mean", "noise_norm", "swap", "blank_image", "oracle", "random_box", "markers_only", "drop")


@pytest.fixture(autouse=True)
def _one_of_a_kind(bench: Any) -> None:
    """How latents are made of states, and which kernel computed a prefix, is not the concern here."""
    model, config = bench.model, bench.model.reasoner.config
    if model.backbone.kernel != "mask" or "head" in model.extra or getattr(config, "shared", False):
        pytest.skip("it differs in nothing that matters here")
    if bench.visibility is BOTTLENECK:
        pytest.skip("the bottleneck is a condition here")


def test_a_record_does_not_depend_on_its_neighbours(lab: Any, bench: Any) -> None:
    """Not even what is drawn for it, nor how long its answer may be."""
    others = type(bench)(lab, bench.model, size=3).planned(ALONE)  # without the longest, which is alone
    assert "drop" in others
    for name in others:
        (step,) = bench.planned()[name]
        assert [len(other.part.places) for other in others[name]] == [3, 1]
        for other in others[name]:
            for place in other.part.places:
                row, again = step.way.written[place], other.way.written[place]
                assert step.way.predictions[place].text == other.way.predictions[place].text, name
                shared = min(len(row.ids), len(again.ids))
                assert row.log_probs[:shared] == pytest.approx(again.log_probs[:shared], abs=NEAR), name
                one, two = step.way.probabilities[place], other.way.probabilities[place]
                assert math.log(one) == pytest.approx(math.log(two), abs=NEAR), name


def test_what_is_taken_away_is_gone(bench: Any) -> None:
    """From decoding and from what stands before the right answer; an end vector is a marker."""
    model, planned, span = bench.model, bench.planned(), bench.model.reasoner.span()
    new = set(model.token_ids.values())
    slots = {model.token_ids[token.text] for token in model.reasoner.tokens() if token.slot and token.role}
    slots = slots if span is None else {model.token_ids[span.slot]}
    markers = sorted(new - slots) if span is None else [model.token_ids[t] for t in (span.start, *span.end)]
    for name in {"drop", "markers_only", "bottleneck_drop"} & set(planned):
        for step in planned[name]:
            rows = step.way.written.values()
            there = {token for row in rows for token in row.ids}
            there |= set(step.whole["input_ids"].flatten().tolist())
            assert not there & (slots if name == "markers_only" else {*slots, *markers})
            assert not any(len(span) for row in rows for span in row.spans)
            bench.require_alone(step)
            texts = step.part.batch["input_ids"].tolist() if span is None else [row.ids for row in rows]
            forced = step.whole["input_ids"].tolist()
            if name == "markers_only":
                assert all(marker in text for text in (*texts, *forced) for marker in markers)
            else:
                assert not any(marker in text for text in forced for marker in markers)
    assert ("markers_only" in planned) == bool(markers)
    assert "drop" in planned


def test_without_latents_the_bottleneck_hides_the_image(lab: Any, bench: Any) -> None:
    """Exactly: pictures with their colours turned round change the answers, but not those."""
    other = type(bench)(lab, bench.model, inverted=True)
    assert all(row.log_probs != other.way.written[i].log_probs for i, row in bench.way.written.items())
    for name, same in (("bottleneck_drop", True), ("bottleneck", False), ("drop", False)):
        (step,), (turned,) = bench.planned()[name], other.planned()[name]
        for place, row in step.way.written.items():
            again = turned.way.written[place]
            assert ((row.ids, row.log_probs) == (again.ids, again.log_probs)) is same, name
            one, two = step.way.probabilities[place], turned.way.probabilities[place]
            assert (one == two) is same, name


def test_each_image_goes_through_the_tower_once(bench: Any) -> None:
    """In a whole diagnosis: the patches of the prompts, and one blank picture of each size."""
    model, seen = bench.model, list[int]()
    tower = model.backbone.vision_tower
    handle = tower.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    found = diagnose(model, bench.prompts.source, bench.recipe, chosen([]), seeds=2)
    handle.remove()
    grids = [row for sample in bench.prompts.kept.values() for row in sample.grid.tolist()]
    sizes = {tuple(row) for row in grids}
    assert sum(seen) == sum(t * h * w for t, h, w in [*grids, *sizes])
    assert len([condition for condition in found.conditions if condition.runs]) >= 10
    drawn = [condition for condition in found.conditions if condition.name in ("noise_norm", "noise_matched")]
    for condition in drawn:
        one, two = condition.runs
        assert all(a != b for a, b in zip(one.probabilities, two.probabilities, strict=True))
