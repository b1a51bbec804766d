"""What an intervention gives is what the model has, in decoding and under teacher forcing, and nothing else.

Everything is held against one whole forward pass of each record alone, without cache, prefix or padding, and
against what goes into the layers. Breaks when: given latents are not fed, come one place off or stay in a
shared cache, the right answer stands behind other latents than the written one, or a visibility, a kernel or
a cache is not that of the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from latentvr.diagnostics.baseline import run_baseline
from latentvr.diagnostics.recorded import Latents

STEPS = 3
Given = Callable[[int], Latents]


def _given(bench: Any, name: str) -> Given:
    """Latents to give, by place; spans may get more or fewer than their own."""

    def noise(place: int, slots: int | None = None) -> Latents:
        generator = torch.Generator().manual_seed(place)
        shapes = [[*s.shape[:-2], s.shape[-2] if slots is None else slots, s.shape[-1]] for s in stood[place]]
        return [torch.randn(shape, generator=generator) * 3 for shape in shapes]

    stood = bench.way.stood
    made: dict[str, Given] = {
        "own": stood.__getitem__,
        "zeros": lambda place: [torch.zeros_like(span) for span in stood[place]],
        "noise": noise,
        "loud": lambda place: [
            100 * s.norm(dim=-1, keepdim=True) * n for s, n in zip(stood[place], noise(place), strict=True)
        ],
        "more": lambda place: noise(place, STEPS + 2),
        "none": lambda place: noise(place, 0),
    }
    return made[name]


def _same(one: Any, other: Any) -> None:
    """Bit for bit."""
    assert one.probabilities == other.probabilities
    for place, row in one.written.items():
        again = other.written[place]
        assert (row.ids, row.slot, row.log_probs) == (again.ids, again.slot, again.log_probs)
        assert torch.equal(row.fed, again.fed)


def test_there_is_something_to_intervene_on(bench: Any) -> None:
    """Without this the other tests of the file would say little."""
    assert len({len(sample.ids) for part in bench.parts for sample in part.samples}) > 2
    assert all(sum(span.shape[-2] for span in spans) for spans in bench.way.stood.values())
    assert bench.in_prompts or all(row.slot[1] for row in bench.way.written.values())


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_identity_is_the_baseline(lab: Any, bench: Any, cache: str) -> None:
    other = bench if bench.cache == cache else type(bench)(lab, bench.model, bench.visibility, cache)
    _same(other.run("identity", _given(other, "own"))[0].way, other.way)


def _stood(bench: Any, step: Any, given: Given) -> None:
    """What was given went in at the slots, in decoding and before the right answer."""
    model, part = bench.model, step.part
    if bench.in_prompts:
        slot_BS = model.slot_mask(part.batch)[:, part.prefix.columns :]
        for number, (first, *_) in enumerate(step.inputs):
            found = first[slot_BS[:, : first.shape[1]]]
            assert torch.equal(found, torch.cat([given(place)[0][number] for place in part.places]))
        return
    _, *steps, teacher = step.inputs[0]
    fed_BTD, slot_id = torch.cat(steps, 1), model.token_ids[model.reasoner.span().slot]
    forced_BT = torch.eq(step.whole["input_ids"], slot_id)[:, -teacher.shape[1] :]
    for at, place in enumerate(part.places):
        latents, row = given(place), step.way.written[place]
        assert len(row.spans[0]) == len(latents[0])
        slots = [i for i, token in enumerate(row.ids[: fed_BTD.shape[1]]) if token == slot_id]
        wanted = [latents[min(i, len(latents) - 1)][: len(own)] for i, own in enumerate(row.spans)]
        assert torch.equal(fed_BTD[at, slots], torch.cat(wanted)[: len(slots)])
        before = [latents[min(i, len(latents) - 1)] for i in range(len(bench.way.written[place].spans))]
        assert torch.equal(teacher[at, forced_BT[at]], torch.cat(before))


@pytest.mark.parametrize("name", ["own", "zeros", "noise", "more", "none"])
def test_what_is_given_is_what_the_model_has(bench: Any, name: str) -> None:
    if bench.in_prompts and name in ("more", "none"):
        pytest.skip("prompts keep their slots")
    given = _given(bench, name)
    for step in bench.run(name, given):
        _stood(bench, step, given)
        bench.require_alone(step)


def test_it_is_felt_behind_the_slots_and_not_before(bench: Any) -> None:
    """Noise a hundred times as long as the latents: a hook that is not connected would change nothing."""
    caches = [[layer.keys.clone() for layer in part.prefix.cache.layers if layer.is_initialized]
              for part in bench.parts]  # fmt: skip
    (step,) = bench.run("loud", _given(bench, "loud"))
    for place, row in step.way.written.items():
        own = bench.way.written[place]
        first = own.slot.index(True) if True in own.slot else 0
        assert row.ids[:first] == own.ids[:first]
        assert row.log_probs[:first] == own.log_probs[:first]
        if len(own.spans) > 1:
            continue  # it writes nothing but spans
        after = [p for p in row.log_probs[first:] if p]
        assert after != pytest.approx([p for p in own.log_probs[first:] if p][: len(after)], abs=1e-3)
        own_probability = bench.way.probabilities[place]
        assert step.way.probabilities[place] != pytest.approx(own_probability, rel=1e-4, abs=0)
    for part, before in zip(bench.parts, caches, strict=True):
        now = [layer.keys for layer in part.prefix.cache.layers if layer.is_initialized]
        assert all(torch.equal(one, other) for one, other in zip(now, before, strict=True))


@contextmanager
def _restless(bench: Any) -> Iterator[None]:
    """A model whose latents are others each time that they are computed, all else the same."""
    model, generator = bench.model, torch.Generator().manual_seed(0)
    (part,) = bench.parts
    slot_BT = model.slot_mask(part.batch)[:, part.prefix.columns : -1, None]

    def of_slots(_: Any, __: Any, output: Tensor) -> Tensor:
        noise = torch.randn(output.shape, generator=generator)
        return output + noise * slot_BT if output.shape[1] == slot_BT.shape[1] else output

    def of_head(_: Any, __: Any, output: Tensor) -> Tensor:
        return output + torch.randn(output.shape, generator=generator)

    layers = list(model.backbone.language_model.layers)[:-1]
    handles = [layer.register_forward_hook(of_slots) for layer in layers if bench.in_prompts]
    handles += [head.register_forward_hook(of_head) for name, head in model.extra.items() if name == "head"]
    yield
    for handle in handles:
        handle.remove()


def test_identity_is_fed_and_not_computed_again(bench: Any) -> None:
    """The noise is felt by each baseline, and the identity control of each still gives its bits."""
    if not bench.in_prompts and "head" not in bench.model.extra:
        pytest.skip("nothing stands between states and latents that noise could be added to")
    with _restless(bench):
        made = [
            run_baseline(bench.runner, bench.prompts, bench.visibility, blank=False, readings=False)
            for _ in range(2)
        ]
    assert made[0].way.probabilities != made[1].way.probabilities
    assert all(one.way.probabilities == one.identity.probabilities for one in made)
