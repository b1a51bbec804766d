"""Point 12: in a batch whose rows enter and leave latent mode on their own, each row is what it is alone.

Eight prompts of different lengths: two begin inside a span, three open one later, one of these a second
one, and three never do. The head's row of the start marker is made so that exactly that happens. Breaks
when: a row's latent mode, step count, markers or cache column depend on its neighbours, a static cache or a
repeated prefill holds other values, or what is fed back is not what was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import DecodeConfig
from latentvr.decoding.loop import generate
from latentvr.decoding.rollout import Rollout
from latentvr.reasoners.base import Stage

AT_ONCE = (0, 1)
#: Rows, and the numbers of the tokens at which they write the start marker.
LATER = {2: [1], 3: [4], 4: [2, 9]}
LENGTH, STEPS = 16, 3


@dataclass
class Opened:
    """A model, eight prompts, and what it writes for them."""

    model: Any
    prompts: list[Any]
    stage: Stage
    decode: DecodeConfig
    rows: list[Rollout]

    def write(self, lab: Any, which: slice = slice(None), **settings: Any) -> list[Rollout]:
        """Answers to some of the prompts."""
        named = {
            key: settings.pop(key) for key in ("rollouts", "feed", "generator", "watch") if key in settings
        }
        decode = replace(self.decode, **settings)
        return generate(self.model, lab.collated(self.prompts[which]), self.stage, decode, **named)


def _starts(opened: Opened) -> dict[int, list[int]]:
    """Where each row wrote the start marker."""
    start = opened.model.token_ids[opened.model.reasoner.span().start]
    found = {i: [t for t, token in enumerate(row.ids) if token == start] for i, row in enumerate(opened.rows)}
    return {i: places for i, places in found.items() if places}


@torch.no_grad()
def _steer(lab: Any, opened: Opened) -> None:
    """Have the rows open their spans where they are meant to.

    The start marker's row of the head is the smallest one that has a high logit at the states before those
    places, and a low one at states at which the marker was written and should not have been.
    """
    model, wrong = opened.model, {}
    start = model.token_ids[model.reasoner.span().start]
    written = model.rows.get_buffer("ids")[model.rows.get_buffer("written")].tolist()
    model.rows.head_rows[written.index(start)] = 0.0
    for _ in range(20):
        seen: list[Tensor] = []
        opened.rows = opened.write(lab, watch=lambda *args, seen=seen: seen.append(args[1].clone()))
        if _starts(opened) == LATER:
            return
        for i, row in enumerate(opened.rows):
            for t, (token, mine) in enumerate(zip(row.ids, row.sampled, strict=True)):
                meant = t in LATER.get(i, [])
                if mine and (meant or token == start):
                    wrong[i, t, seen[t][i].sum().item()] = (seen[t][i], 40.0 if meant else -40.0)
        a = torch.stack([state for state, _ in wrong.values()]).double()
        y = torch.tensor([logit for _, logit in wrong.values()]).double()
        model.rows.head_rows[written.index(start)] = (torch.linalg.pinv(a, rtol=1e-3) @ y).float()


VISIBILITIES = [CAUSAL, BOTTLENECK]


@pytest.fixture(scope="module", params=VISIBILITIES, ids=lambda v: v.name)
def opened(request: pytest.FixtureRequest, lab: Any, span_model: Any) -> Opened:
    """The state that the tests share; they leave it as it is."""
    visibility: Visibility = request.param
    if visibility is BOTTLENECK and set(span_model.extra):
        pytest.skip("what a visibility hides is a matter of roles and not of the method's modules")
    records = [*lab.records.values()]
    records += [replace(record, prompt=f"{record.prompt} look again") for record in records]
    span = span_model.reasoner.span()
    ends = [span.start if i in AT_ONCE else "" for i in range(len(records))]
    learned = getattr(span_model.reasoner.config, "end_vector", False)
    decode = DecodeConfig(
        max_new_tokens=LENGTH,
        latent_steps=STEPS,
        exit="end_vector" if learned else "steps",
        end_distance="cosine",
        end_threshold=0.95,
    )
    out = Opened(span_model, lab.prompts(span_model, records, ends), Stage("s", visibility), decode, [])
    _steer(lab, out)
    return out


def _agree(opened: Opened, one: Rollout, other: Rollout, tolerance: float = 1e-4) -> None:
    assert one.ids == other.ids
    assert one.slot == other.slot
    assert one.sampled == other.sampled
    assert one.log_probs == pytest.approx(other.log_probs, abs=tolerance)
    assert one.fed.shape == other.fed.shape
    # What an untrained head makes is small: the model's norm scales it up, rounding errors and all.
    wide = 3 * tolerance if "head" in opened.model.extra else tolerance
    assert torch.allclose(one.fed, other.fed, rtol=0, atol=wide)


def test_rows_enter_when_they_are_meant_to(opened: Opened) -> None:
    """Without this the other tests of the file would say little."""
    assert len({len(prompt.ids) for prompt in opened.prompts}) > 4
    assert _starts(opened) == LATER
    spans = [len(row.spans) for row in opened.rows]
    assert spans == [1, 1, 1, 1, 2, 0, 0, 0]
    assert all(len(span) <= STEPS for row in opened.rows for span in row.spans)
    assert all(len(row.fed) >= number for row, number in zip(opened.rows, spans, strict=True))
    assert [row.slot[0] for row in opened.rows] == [True, True, *[False] * 6]


def test_a_batch_is_its_single_rows(lab: Any, opened: Opened) -> None:
    for i, row in enumerate(opened.rows):
        (alone,) = opened.write(lab, slice(i, i + 1))
        _agree(opened, alone, row)


@torch.no_grad()
def test_without_a_cache_the_same_is_written(lab: Any, opened: Opened) -> None:
    """A whole forward for each token, by rules that are written down here once more."""
    if opened.decode.exit != "steps":
        pytest.skip("the rules here are those of a fixed number of steps")
    model, span = opened.model, opened.model.reasoner.span()
    for i in (0, 3, 4):
        prompt, ids, slots, fed = opened.prompts[i], [], [], []
        left, closing = -1, []
        for _ in range(LENGTH):
            batch = lab.collated([lab.went_on(model, prompt, ids, slots)])
            given = torch.stack(fed) if fed else None
            hidden = model.hidden(batch, model.features(batch), opened.stage, slots=given)[0, -1]
            last = ids[-1] if ids else int(prompt.ids[-1])
            if last == model.token_ids[span.start]:
                left = STEPS
            if left == 0:
                left, closing = -1, [model.token_ids[text] for text in span.end]
            slots.append(left > 0)
            if left > 0:
                left -= 1
                fed.append(model.reasoner.latent_inputs(hidden))
                ids.append(model.token_ids[span.slot])
            else:
                ids.append(closing.pop(0) if closing else int(model.logits(hidden).argmax()))
        assert opened.rows[i].ids == ids
        assert torch.allclose(opened.rows[i].fed, torch.stack(fed), atol=1e-4)


def test_a_static_cache_gives_the_same(lab: Any, opened: Opened) -> None:
    for one, other in zip(opened.write(lab, cache="static"), opened.rows, strict=True):
        _agree(opened, one, other)


def test_rollouts_of_one_prefill_are_single_runs(lab: Any, opened: Opened) -> None:
    several = opened.write(lab, rollouts=3)
    assert len(several) == 3 * len(opened.rows)
    for i, row in enumerate(several):
        _agree(opened, row, opened.rows[i // 3])


def test_sampled_rollouts_of_a_prompt_differ(lab: Any, opened: Opened) -> None:
    def written(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        rows = opened.write(
            lab, slice(0, 2), rollouts=4, generator=generator, do_sample=True, temperature=50.0
        )
        return [row.ids for row in rows]

    first = written(0)
    assert len({tuple(ids) for ids in first[:4]}) == len({tuple(ids) for ids in first[4:]}) == 4
    assert written(0) == first
    assert written(1) != first


def test_feeding_back_what_was_fed_changes_nothing(lab: Any, opened: Opened) -> None:
    """Bit for bit: replay is sampling."""
    again = opened.write(lab, feed=[row.spans for row in opened.rows])
    for one, other in zip(again, opened.rows, strict=True):
        assert one.ids == other.ids
        assert one.slot == other.slot
        assert one.log_probs == other.log_probs
        assert torch.equal(one.fed, other.fed)


def test_feeding_zeros_is_recorded_and_felt(lab: Any, opened: Opened) -> None:
    zeros = [[torch.zeros_like(span) for span in row.spans] for row in opened.rows]
    for one, other, fed in zip(opened.write(lab, feed=zeros), opened.rows, zeros, strict=True):
        first = len(fed[0]) if fed else 0
        assert not one.fed[:first].any()
        assert (one.log_probs != other.log_probs) is any(len(span) for span in fed)


def test_slots_and_images_are_never_written(lab: Any, opened: Opened) -> None:
    """At a temperature that makes all tokens equally likely; without suppression they are written."""
    never = set(opened.model.get_buffer("excluded").tolist())
    assert opened.model.image_token_id in never
    assert opened.model.token_ids[opened.model.reasoner.span().slot] in never

    def chosen(suppress: bool) -> set[int]:
        rows = opened.write(
            lab, rollouts=16, do_sample=True, temperature=1e4, suppress=suppress,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        return {token for row in rows for token, mine in zip(row.ids, row.sampled, strict=True) if mine}

    assert chosen(True) & never == set()
    assert len(chosen(True)) > 100
    assert chosen(False) & never == never
    greedy = {token for row in opened.rows for token, mine in zip(row.ids, row.sampled, strict=True) if mine}
    assert greedy & never == set()
