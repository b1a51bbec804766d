"""Advantages against TRL's formula, and the cases where the formula is not enough.

Breaks when: the deviation is biased, groups mix, a group without spread gets a rounding error for an
advantage, or a reward that does not apply counts as 0 without anyone being told.
"""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch
from torch import Tensor

from latentvr.errors import UserError
from latentvr.rl.advantages import advantages, combined, spread, zero_variance

NAN = float("nan")


def _trl(rewards: Tensor, group: int, scale: str) -> Tensor:
    """What TRL 1.16 computes in the middle of a method of 600 lines, with its own `nanstd`."""
    pytest.importorskip("trl")
    if not version("trl").startswith("1.16."):
        pytest.skip(f"the formula is that of TRL 1.16, and {version('trl')} is installed")
    from trl.trainer.utils import nanstd

    mean = torch.nanmean(rewards.view(-1, group), dim=1).repeat_interleave(group, dim=0)
    std = nanstd(rewards.view(-1, group), dim=1).repeat_interleave(group, dim=0)
    std = nanstd(rewards).expand_as(rewards) if scale == "batch" else std
    return rewards - mean if scale == "none" else (rewards - mean) / (std + 1e-4)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("group", [2, 3, 8, 40])
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_trl_to_the_last_bit(scale: str, group: int, seed: int) -> None:
    rewards = torch.rand(4 * group, generator=torch.Generator().manual_seed(seed)) * 3 - 1
    assert torch.equal(advantages(rewards, group, scale), _trl(rewards, group, scale))  # type: ignore[arg-type]


def test_values_by_hand() -> None:
    found = advantages(torch.tensor([0.0, 1.0, 1.0, 2.0, 5.0, 5.0, 5.0, 9.0]), 4, "group")
    first, second = (2 / 3) ** 0.5 + 1e-4, 2.0 + 1e-4
    expected = [-1 / first, 0, 0, 1 / first, -1 / second, -1 / second, -1 / second, 3 / second]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_group_sees_no_other() -> None:
    rewards = torch.rand(12, generator=torch.Generator().manual_seed(0))
    changed = rewards.clone()
    changed[4:8] = 7 * changed[4:8] + 2
    one, other = advantages(rewards, 4, "group"), advantages(changed, 4, "group")
    assert torch.equal(one[[0, 1, 2, 3, 8, 9, 10, 11]], other[[0, 1, 2, 3, 8, 9, 10, 11]])


EQUAL = pytest.mark.parametrize(("value", "group"), [(0.1, 8), (0.9, 3), (1 / 3, 7), (1.4, 11)])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@EQUAL
def test_equal_rewards_give_exactly_nothing(scale: str, value: float, group: int) -> None:
    rewards = torch.cat([torch.full((group,), value), torch.linspace(0, 1, group)])
    found = advantages(rewards, group, scale)  # type: ignore[arg-type]
    assert found[:group].tolist() == [0.0] * group
    assert found[group] < 0 < found[-1]
    assert zero_variance(rewards, group).tolist() == [True, False]


@EQUAL
def test_the_formula_alone_is_not_exact(value: float, group: int) -> None:
    # What the test above is about: a mean that is no longer the value.
    assert _trl(torch.full((group,), value), group, "group").abs().max() > 0


def test_a_tiny_spread_is_a_spread() -> None:
    assert zero_variance(
        torch.tensor([0.1, 0.1, torch.tensor(0.1).nextafter(torch.tensor(1.0))]), 3
    ).tolist() == [False]


def test_the_deviation_of_all_processes() -> None:
    rewards = torch.rand(16, generator=torch.Generator().manual_seed(3))
    whole = advantages(rewards, 4, "batch")
    std = spread(rewards)
    halves = [advantages(half, 4, "batch", std) for half in rewards.split(8)]
    assert torch.equal(torch.cat(halves), whole)
    assert not torch.equal(torch.cat([advantages(half, 4, "batch") for half in rewards.split(8)]), whole)
    assert std.item() == pytest.approx(rewards.std().item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_deviation_is_unbiased(dtype: torch.dtype) -> None:
    rewards = torch.rand(5, 4, dtype=dtype, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(spread(rewards), rewards.std(dim=1), rtol=8 * torch.finfo(dtype).eps, atol=0)


def test_what_does_not_apply_is_left_out() -> None:
    rewards = torch.tensor([[1.0, 0.5, NAN], [NAN, 2.0, NAN], [0.0, NAN, -1.0]])
    assert combined(rewards, torch.tensor([1.0, 0.5, 3.0])).tolist() == [1.25, 1.0, -3.0]


def test_a_completion_without_any_reward_is_refused() -> None:
    rewards = torch.tensor([[1.0, NAN], [NAN, NAN], [NAN, 0.0], [NAN, NAN]])
    with pytest.raises(UserError, match=r"got none for completions 1, 3 \(2 in all\)"):
        combined(rewards, torch.ones(2))
    message = r"got none for 2 completions of records 'b', 'd' \(2 in all\), at"
    with pytest.raises(UserError, match=message):
        combined(rewards, torch.ones(2), names=list("abcd"))


def test_a_record_whose_completions_have_no_reward_is_named_once() -> None:
    rewards = torch.full((24, 1), NAN)
    names = [f"r{i // 2}" for i in range(24)]
    with pytest.raises(UserError, match=r"24 completions of records 'r0', .*, 'r7' \(12 in all\)"):
        combined(rewards, torch.ones(1), names)


@pytest.mark.parametrize("weights", [torch.ones(3), torch.ones(1), torch.tensor(1.0)])
def test_a_weight_for_each_function(weights: Tensor) -> None:
    with pytest.raises(UserError, match="a weight for each function"):
        combined(torch.ones(4, 2), weights)


@pytest.mark.parametrize(("count", "group"), [(5, 2), (4, 1), (0, 2), (2, 4)])
def test_groups_are_whole(count: int, group: int) -> None:
    for function in (
        lambda: advantages(torch.rand(count), group, "group"),
        lambda: zero_variance(torch.rand(count), group),
    ):
        with pytest.raises(UserError, match="whole groups of at least 2"):
            function()


@pytest.mark.parametrize("bad", [NAN, float("inf")])
def test_rewards_are_finite(bad: float) -> None:
    with pytest.raises(UserError, match="NaN or infinity in 1 of 4"):
        advantages(torch.tensor([0.0, 1.0, bad, 1.0]), 2, "group")


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(UserError, match="expected scale_rewards group, batch or none, got 'std'"):
        advantages(torch.rand(4), 2, "std")  # type: ignore[arg-type]
