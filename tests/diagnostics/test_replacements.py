"""What takes the place of latents, from latents that were recorded.

Breaks when: a record gets its own latents or those of one with the same answer, a draw depends on anything
but the seed and the record's place, a mean is over the wrong slots, or `top_k` takes other slots than the
most attended ones.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentvr.diagnostics import replacements as put
from latentvr.diagnostics.recorded import Given, NotApplicable, Recorded

WIDTH, RECORDS = 6, 24


def _recorded(in_prompts: bool = False, answers: str = "ABAC", tasks: str = "xy") -> Recorded:
    """Latents of 24 records: one span of three slots, two of one and two, none, and one of four."""
    generator = torch.Generator().manual_seed(0)
    shapes = [[3], [1, 2], [], [4]]
    latents = [
        [torch.randn(2, 3, WIDTH, generator=generator)]
        if in_prompts
        else [torch.randn(n, WIDTH, generator=generator) + place for n in shapes[place % 4]]
        for place in range(RECORDS)
    ]
    return Recorded(
        latents,
        [answers[place % len(answers)] for place in range(RECORDS)],
        [tasks[place // 4 % len(tasks)] for place in range(RECORDS)],
    )


def _drawn(recorded: Recorded) -> dict[str, dict[int, Given]]:
    """Everything that draws, by seed."""
    return {
        "noise_matched": {seed: put.noise_matched(recorded, seed) for seed in (0, 1)},
        "noise_norm": {seed: put.noise_norm(recorded, seed) for seed in (0, 1)},
        "swap": {seed: put.swap(recorded, seed, same_count=False) for seed in (0, 1)},
    }


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", ["noise_matched", "noise_norm", "swap"])
def test_draws_depend_on_seed_and_place_alone(name: str) -> None:
    recorded = _recorded()
    first, again = _drawn(recorded)[name], _drawn(recorded)[name]
    places = [place for place in range(RECORDS) if recorded.latents[place]]
    forth = {place: first[0](place) for place in places}
    back = {place: again[0](place) for place in reversed(places)}
    assert all(_equal(forth[place], back[place]) for place in places)
    assert not all(_equal(forth[place], first[1](place)) for place in places)
    if name != "swap":
        flat = [span.flatten()[:2].tolist() for spans in forth.values() for span in spans]
        assert len({tuple(values) for values in flat}) == len(flat)


@pytest.mark.parametrize("in_prompts", [False, True])
def test_swap_gives_latents_of_another_answer_of_the_same_task(in_prompts: bool) -> None:
    recorded = _recorded(in_prompts)
    for seed in range(5):
        given = put.swap(recorded, seed, same_count=in_prompts)
        for place in range(RECORDS):
            if not recorded.latents[place]:
                assert given(place) == []
                continue
            (donor,) = (i for i in range(RECORDS) if given(place) and given(place) is recorded.latents[i])
            assert recorded.answers[donor] != recorded.answers[place]
            assert recorded.tasks[donor] == recorded.tasks[place]


def test_swap_leaves_the_task_before_the_answer() -> None:
    """Each task has one answer: donors are of other tasks."""
    recorded = _recorded(answers="AAAABBBB", tasks="xy")
    given = put.swap(recorded, 0, same_count=False)
    donors = [next(i for i in range(RECORDS) if given(place) is recorded.latents[i]) for place in (0, 4)]
    assert [recorded.answers[donor] for donor in donors] == ["B", "A"]


def test_swap_takes_as_many_slots_where_prompts_need_them() -> None:
    recorded = _recorded()
    recorded.answers = [str(place) for place in range(RECORDS)]
    given = put.swap(recorded, 0, same_count=True)
    for place, own in enumerate(recorded.latents):
        assert [span.shape for span in given(place)] == [span.shape for span in own]


@pytest.mark.parametrize("same_count", [False, True])
def test_swap_without_donors_does_not_apply(same_count: bool) -> None:
    with pytest.raises(NotApplicable, match="another answer"):
        put.swap(_recorded(answers="A"), 0, same_count)


def test_mean_and_noise_have_the_moments_of_their_slots() -> None:
    """Slot by slot over all spans; by hand for the second slot."""
    recorded = _recorded()
    second = torch.stack([span[1] for span in recorded.spans() if len(span) > 1]).double()
    mean = put.mean(recorded)(0)[0]
    assert torch.allclose(mean[1].double(), second.mean(0), atol=1e-5)
    assert torch.equal(put.mean(recorded)(4)[0], mean)
    draws = torch.stack([put.noise_matched(recorded, seed)(0)[0][1] for seed in range(2000)]).double()
    assert torch.allclose(draws.mean(0), second.mean(0), atol=0.15 * float(second.std(0).max()))
    assert torch.allclose(draws.std(0), second.std(0, correction=0), rtol=0.1)


@pytest.mark.parametrize("in_prompts", [False, True])
def test_shapes_stay(in_prompts: bool) -> None:
    recorded = _recorded(in_prompts)
    makers = [put.zeros(recorded), put.mean(recorded), put.first_repeat(recorded)]
    makers += [put.noise_matched(recorded, 0), put.noise_norm(recorded, 0)]
    for given in makers:
        for place, own in enumerate(recorded.latents):
            assert [span.shape for span in given(place)] == [span.shape for span in own]


def test_zeros_first_repeat_and_norms() -> None:
    recorded = _recorded(in_prompts=True)
    own = recorded.latents[3][0]
    assert not put.zeros(recorded)(3)[0].any()
    assert torch.equal(put.first_repeat(recorded)(3)[0], own[:, [0, 0, 0]])
    noise = put.noise_norm(recorded, 0)(3)[0]
    assert torch.allclose(noise.norm(dim=-1), own.norm(dim=-1), rtol=1e-5)
    cosines = torch.nn.functional.cosine_similarity(noise, own, dim=-1)
    assert float(cosines.abs().max()) < 0.999
    alone = Recorded([[torch.ones(1, WIDTH)]] * 2, ["A", "B"], ["x", "x"])
    with pytest.raises(NotApplicable, match="more than one latent slot"):
        put.first_repeat(alone)


@pytest.mark.parametrize("in_prompts", [False, True])
def test_top_k_takes_the_slots_that_are_attended_to_most(in_prompts: bool) -> None:
    """The attention is planted: slot 1 of a record's slots first, then slot 2, wherever spans begin."""
    recorded = _recorded(in_prompts)
    counts = [sum(span.shape[-2] for span in spans) for spans in recorded.latents]
    attention = [torch.tensor([0.1, 0.9, 0.5, 0.2])[:count] for count in counts]
    mean = put.mean(recorded)
    for k in (1, 2):
        given = put.top_k(recorded, attention, k)
        for place, count in enumerate(counts):
            if not count:
                continue
            own, taken, average = (
                torch.cat(spans, -2) for spans in (recorded.latents[place], given(place), mean(place))
            )
            changed = [
                slot for slot in range(count) if not torch.equal(own[..., slot, :], taken[..., slot, :])
            ]
            assert changed == [1, 2][:k]
            assert torch.equal(taken[..., changed, :], average[..., changed, :])
    with pytest.raises(NotApplicable, match="k = 4"):
        put.top_k(recorded, attention, 4)


def test_nothing_to_replace_does_not_apply() -> None:
    with pytest.raises(NotApplicable, match="no answer has latents"):
        Recorded([[], [torch.zeros(0, WIDTH)]], ["A", "B"], ["x", "x"])
    with pytest.raises(NotApplicable, match="two records"):
        put.mean(Recorded([[torch.ones(2, WIDTH)], []], ["A", "B"], ["x", "x"]))
