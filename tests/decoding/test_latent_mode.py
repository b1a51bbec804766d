"""Spans: how long they last, what closes them, and what is fed in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.decoding.latent_mode import Turn

LAYOUTS = ["A", "B"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_span_lasts_its_steps_and_is_closed(spans: Any, layout: str) -> None:
    made = spans(layout=layout)
    for row in made.write():
        closing = made.closing
        assert row.ids[:3] == [made.slot] * 3
        assert row.ids[3 : 3 + len(closing)] == closing
        assert row.slot == [True] * 3 + [False] * 9
        assert row.sampled == [False] * (3 + len(closing)) + [True] * (9 - len(closing))
        assert row.log_probs[: 3 + len(closing)] == [0.0] * (3 + len(closing))
        assert all(p < 0 for p in row.log_probs[3 + len(closing) :])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_forced_markers_the_model_goes_on_by_itself(spans: Any, layout: str) -> None:
    made = spans(layout=layout)
    free, forced = made.write(force_end=False), made.write()
    for row, other in zip(free, forced, strict=True):
        assert row.slot == other.slot
        assert row.sampled == [False] * 3 + [True] * 9
        assert not set(row.ids) & set(made.closing)
        assert torch.equal(row.fed, other.fed)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_what_is_fed_is_the_state_before(spans: Any, steps: int) -> None:
    made = spans()
    states = made.states(latent_steps=steps)
    for i, row in enumerate(made.write(latent_steps=steps)):
        assert row.slot.count(True) == steps
        assert torch.equal(row.fed, states[:steps, i])
        assert [len(span) for span in row.spans] == [steps]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_an_answer_that_ends_inside_a_span(spans: Any, length: int) -> None:
    made = spans()
    for row in made.write(max_new_tokens=length):
        assert row.ids == [made.slot] * length
        assert row.finish == "length"
        assert len(row.fed) == length
        assert row.text_ids == []


@pytest.mark.parametrize("distance", ["mse", "mae", "cosine"])
def test_the_end_vector_ends_a_span(spans: Any, distance: str) -> None:
    """The vector is set to what the first row is fed at its third step, and to nothing of the second row."""
    made = spans(layout="A", end_vector=True)
    settings = {"latent_steps": 6, "exit": "end_vector", "end_distance": distance, "end_threshold": 1e-5}
    free = made.write(**settings)
    assert [row.slot.count(True) for row in free] == [6, 6]
    made.model.extra["end"].vector.data = free[0].fed[2].clone()
    first, second = made.write(**settings)
    latent_end, end = made.closing
    assert first.ids[:4] == [made.slot, made.slot, latent_end, end]
    assert first.slot[:4] == [True, True, True, False]
    assert torch.equal(first.fed[2], made.model.extra["end"].vector)
    assert second.ids == free[1].ids


def test_the_end_marker_of_the_head_ends_a_span(spans: Any) -> None:
    made = spans(layout="B")
    settings = {"latent_steps": 6, "exit": "switch_token"}
    assert [row.slot.count(True) for row in made.write(**settings)] == [6, 6]
    states = made.states(**settings)[:4, 0]
    made.write_at(made.span.end[0], states, [False, False, False, True])
    row = made.write(**settings)[0]
    assert row.ids[:4] == [*[made.slot] * 3, made.closing[0]]
    assert row.slot[:5] == [True, True, True, False, False]
    free = made.write(force_end=False, **settings)[0]
    assert free.ids[:4] == row.ids[:4]
    assert (free.sampled[3], row.sampled[3]) == (True, False)


def test_a_second_span_has_steps_of_its_own(spans: Any) -> None:
    """The start marker is made the choice of the first row three tokens after the first span."""
    made = spans(layout="B")
    states = made.states()[:7, 0]
    made.write_at(made.span.start, states, [False] * 6 + [True])
    row = made.write()[0]
    assert row.ids[6] == made.ids[made.span.start]
    assert row.slot[:11] == [*[True] * 3, *[False] * 4, *[True] * 3, False]
    assert row.ids[10] == made.closing[0]
    assert row.sampled[6]
    assert [len(span) for span in row.spans][:2] == [3, 3]


def test_given_latents_take_the_place_of_the_models_own(spans: Any) -> None:
    """Of other lengths than the settings say, none at all, and for one row alone."""
    made = spans(layout="B")
    width = made.model.backbone.width
    given = torch.randn(5, width, generator=torch.Generator().manual_seed(0))
    free = made.write()
    first, second = made.write(feed=[[given], []])
    assert first.ids[:6] == [*[made.slot] * 5, made.closing[0]]
    assert torch.equal(first.fed, given)
    assert second.ids == free[1].ids
    none = made.write(feed=[[given[:0]], [given[:1]]])
    assert [row.slot.count(True) for row in none] == [0, 1]
    assert [row.ids[row.slot.count(True)] for row in none] == made.closing * 2


def test_a_slot_is_no_text() -> None:
    before = torch.tensor([7, 8])
    turn = Turn(torch.tensor([50, 9]), [50, 9], slot=[True, False])
    assert turn.text_ids(before).tolist() == [7, 9]
    assert Turn(torch.tensor([50, 9]), [50, 9]).text_ids(before).tolist() == [50, 9]
