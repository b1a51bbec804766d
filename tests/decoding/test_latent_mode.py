"""Spans: how long they last, what closes them, and what is fed in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.latent_mode import Turn
from latentvr.decoding.loop import generate
from latentvr.reasoners.base import Stage

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
    assert [row.slot.count(True) for row in free] == [7, 7]  # the limit puts the vector behind the latents
    assert [row.ids[5:8] for row in free] == [[made.slot, *made.closing]] * 2
    assert [len(span) for row in free for span in row.spans] == [6, 6]
    made.model.extra["end"].vector.data = free[0].fed[2].clone()
    first, second = made.write(**settings)
    latent_end, end = made.closing
    assert first.ids[:4] == [made.slot, made.slot, latent_end, end]
    assert first.slot[:4] == [True, True, True, False]
    assert torch.equal(first.fed[2], made.model.extra["end"].vector)
    assert second.ids[:8] == free[1].ids[:8]


def test_an_end_vector_follows_a_fixed_number_of_steps_too(spans: Any) -> None:
    """What training feeds at the token that closes the latents is fed there, and not the token's own row."""
    made = spans(layout="A", end_vector=True)
    vector, (latent_end, end) = made.model.extra["end"].vector, made.closing
    for row in made.write(latent_steps=2):
        assert row.ids[:4] == [made.slot, made.slot, latent_end, end]
        assert torch.equal(row.fed[2], vector)
        assert torch.equal(row.spans[0], row.fed[:2])
    given = [torch.randn(1, len(vector))]
    for row in made.write(latent_steps=4, feed=[given, given]):
        assert row.ids[:3] == [made.slot, latent_end, end]
        assert torch.equal(row.fed, torch.cat([given[0], vector[None]]))
    for row in made.write(latent_steps=2, force_end=False):
        assert row.ids[:2] == [made.slot] * 2
        assert len(row.fed) == 2


def test_the_first_closing_marker_ends_a_span_in_both_layouts(spans: Any) -> None:
    made = spans(layout="A")
    states = made.states(latent_steps=6, exit="switch_token")[:3, 0]
    made.write_at(made.span.end[0], states, [False, False, True])
    row = made.write(latent_steps=6, exit="switch_token")[0]
    assert row.slot[:3] == [True, True, False]
    assert row.ids[2:4] == made.closing


def test_given_latents_serve_all_spans_and_empty_ones_are_counted(spans: Any) -> None:
    """The start marker is made the choice of the first row three tokens after the first span."""
    made = spans(layout="B")
    states = made.states()[:7, 0]
    made.write_at(made.span.start, states, [False] * 6 + [True])
    width = states.shape[1]
    nothing = made.write(feed=[[torch.zeros(0, width)]] * 2, max_new_tokens=24)
    assert not any(any(row.slot) for row in nothing)
    assert all(row.spans and all(len(span) == 0 for span in row.spans) for row in nothing)
    own = made.write(max_new_tokens=24)
    again = made.write(feed=[row.spans for row in own], max_new_tokens=24)
    assert [row.ids for row in again] == [row.ids for row in own]
    alone = made.write(feed=[[], []], max_new_tokens=24)
    assert [row.ids for row in alone] == [row.ids for row in own]


def test_wrong_batches_and_latents_are_refused(lab: Any, spans: Any) -> None:
    made = spans()
    with pytest.raises(ValueError, match="for 2 rows, got 1 rows"):
        made.write(feed=[[]])
    with pytest.raises(ValueError, match="widths \\[3\\]"):
        made.write(feed=[[torch.zeros(1, 3)], []])
    samples = lab.encode(made.model, list(lab.records.values()), answer=False)
    batch = lab.collated(samples, "right")
    with pytest.raises(ValueError, match="padded on the left"):
        generate(made.model, batch, Stage("s", CAUSAL), DecodeConfig())


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


def test_a_marker_that_shares_the_latents_sight_can_be_blinded(lab: Any, family: str) -> None:
    """Under the bottleneck and without slots the image reaches the answer through the start marker alone."""
    model, stage = lab.model(family, "lvr", untied=True), Stage("test", BOTTLENECK)
    decode, width = DecodeConfig(max_new_tokens=6), model.backbone.width
    batches = [lab.batch(model, [lab.records["one image"]], "left", answer=False) for _ in range(2)]
    batches[1]["pixel_values"] = torch.randn_like(batches[1]["pixel_values"])

    def write(batch: Any, **settings: Any) -> Any:
        return generate(model, batch, stage, decode, feed=[[torch.zeros(0, width)]], **settings)[0]

    states: list[torch.Tensor] = []
    with torch.no_grad():
        model.rows.head_rows.zero_()
        write(batches[0], watch=lambda *forward: states.append(forward[1][0].clone()))
        written = model.rows.get_buffer("ids")[model.rows.get_buffer("written")].tolist()
        start = model.token_ids[model.reasoner.span().start]
        # The marker's logit is 60 where the prompt ends, which sees no image, and so for both images.
        model.rows.head_rows[written.index(start)] = 60 * states[0] / states[0].square().sum()
    seeing, blind = ([write(b, blind_markers=is_blind) for b in batches] for is_blind in (False, True))
    assert all(row.ids[0] == start and not any(row.slot) for row in (*seeing, *blind))
    assert seeing[0].log_probs != seeing[1].log_probs
    assert blind[0].log_probs == blind[1].log_probs
