"""Figures of a round, counted on one rank or on several, are those of all its completions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch

from latentvr.decoding.rollout import Rollout
from latentvr.rl.round_figures import Moments, Tally, round_tally, unclosed

START, SLOT, CLOSING, WORD = 1, 2, 3, 4
NAN = math.nan


def rollout(
    ids: Sequence[int], norms: Sequence[Sequence[float]] = (), finish: Literal["end", "length"] = "end"
) -> Rollout:
    """A completion; `norms` are those of the latents of each span."""
    spans = [torch.tensor([[norm, 0.0] for norm in span]).reshape(-1, 2) for span in norms]
    slot = [token == SLOT for token in ids]
    sampled = [not inside for inside in slot]
    fed = torch.cat(spans) if spans else torch.zeros(0, 2)
    return Rollout(list(ids), slot, sampled, [0.0] * len(ids), fed, spans, torch.zeros(0, 2), finish)


def a_round() -> dict[str, Any]:
    """Two groups of two: rewards differ in the first alone."""
    return {
        "rollouts": [
            rollout([START, SLOT, SLOT, CLOSING, WORD], [[3.0, 5.0]]),
            rollout([START, SLOT, WORD], [[4.0]], "length"),
            rollout([WORD]),
            rollout([WORD, WORD], finish="length"),
        ],
        "rewards_BF": torch.tensor([[1.0, NAN], [0.0, NAN], [1.0, 0.1], [1.0, 0.1]]),
        "names": ["right", "rare"],
        "combined_B": torch.tensor([1.0, 0.0, 1.1, 1.1]),
        "group": 2,
        "has_spans": True,
        "closing_id": CLOSING,
    }


def test_figures_are_those_of_the_definitions() -> None:
    assert round_tally(**a_round()).figures() == pytest.approx(
        {
            "reward": 0.8,
            "reward_std": math.sqrt(0.5) / 2,
            "rewards/right/mean": 0.75,
            "rewards/right/std": 0.5,
            "rewards/rare/mean": 0.1,
            "rewards/rare/std": 0.0,
            "frac_reward_zero_std": 0.5,
            "completions/mean_length": 2.75,
            "completions/min_length": 1,
            "completions/max_length": 5,
            "completions/clipped_ratio": 0.5,
            "share_never_latent": 0.5,
            "share_unclosed": 0.25,
            "latent_norm": 4.0,
        }
    )


def test_ranks_together_give_the_figures_of_all_completions() -> None:
    """Means of means would weigh latents and applicable rewards of both ranks alike."""
    whole = a_round()
    whole["rollouts"][3] = rollout([START, SLOT, CLOSING], [[100.0]])
    whole["rewards_BF"][0, 1] = 7.0
    merged = Tally()
    for half in (slice(0, 2), slice(2, 4)):
        part = {k: v[half] if k in ("rollouts", "rewards_BF", "combined_B") else v for k, v in whole.items()}
        tally = round_tally(**part)
        merged.merge(Tally.from_tensor(tally.parts, tally.to_tensor()))
    assert merged.figures() == pytest.approx(round_tally(**whole).figures(), rel=1e-12)


def test_every_rank_has_the_same_names_whatever_it_wrote() -> None:
    """Gathered tensors are told apart by their order alone."""
    full = a_round()
    words = [rollout([WORD]) for _ in range(4)]
    empty = {**full, "rollouts": words, "rewards_BF": torch.full((4, 2), NAN)}
    assert list(round_tally(**empty).parts) == list(round_tally(**full).parts)


def test_a_figure_without_values_is_left_out() -> None:
    changed = a_round()
    changed["rewards_BF"] = torch.tensor([[1.0, NAN], [1.0, NAN], [1.0, NAN], [1.0, 2.0]])
    changed["rollouts"] = [rollout([WORD])] * 4
    figures = round_tally(**changed).figures()
    assert "latent_norm" not in figures
    assert figures["rewards/rare/mean"] == 2.0
    assert "rewards/rare/std" not in figures
    assert all(math.isfinite(value) for value in figures.values())


def test_methods_without_spans_have_no_figures_of_spans() -> None:
    figures = round_tally(**{**a_round(), "has_spans": False}).figures()
    assert not {"share_never_latent", "share_unclosed", "latent_norm"} & set(figures)


@pytest.mark.parametrize("reward", [0.1, 1 / 3, -2.7])
def test_equal_rewards_have_no_spread_at_all(reward: float) -> None:
    """The rounding of a mean must not look like a difference."""
    rewards = torch.full((6, 2), reward, dtype=torch.float64)
    changed = a_round() | {"rollouts": [rollout([WORD])] * 6, "group": 3}
    changed |= {"rewards_BF": rewards, "combined_B": rewards[:, 0]}
    figures = round_tally(**changed).figures()
    assert figures["reward_std"] == 0.0
    assert figures["rewards/right/std"] == 0.0
    assert figures["frac_reward_zero_std"] == 1.0


@pytest.mark.parametrize("shift", [0.0, 1e8])
def test_moments_of_parts_are_those_of_the_whole(shift: float) -> None:
    """Sums of squares would lose the spread beside a large mean."""
    values = torch.tensor([1.0, 4.0, 9.0, 16.0, 25.0], dtype=torch.float64) + shift
    merged = Moments().merged(Moments.of(values[:2])).merged(Moments.of(values[2:])).merged(Moments())
    assert merged.mean == pytest.approx(float(values.mean()), rel=1e-15)
    assert merged.std == pytest.approx(float(values.std()), rel=1e-7)
    assert (merged.count, merged.low, merged.high) == (5, float(values[0]), float(values[-1]))


@pytest.mark.parametrize(
    ("ids", "spans", "expected"),
    [
        ([WORD], 0, False),
        ([START, SLOT, SLOT, CLOSING, WORD], 1, False),
        ([START, SLOT, SLOT], 1, True),
        ([START, SLOT, WORD, START, SLOT, CLOSING], 2, True),
        ([START, SLOT, CLOSING, START, SLOT, WORD], 2, True),
        ([START, SLOT, CLOSING, START, SLOT, CLOSING], 2, False),
        ([CLOSING, START, SLOT, WORD], 1, True),
        ([START, CLOSING], 1, False),
        ([START], 1, True),
    ],
)
def test_every_span_that_was_opened_has_to_be_closed(ids: list[int], spans: int, expected: bool) -> None:
    assert unclosed(rollout(ids, [[1.0]] * spans), CLOSING) is expected


def test_an_end_vector_in_the_last_slot_closes_its_span() -> None:
    made = rollout([START, SLOT, SLOT, WORD], [[1.0]])
    made.ids[2] = CLOSING
    assert not unclosed(made, CLOSING)
