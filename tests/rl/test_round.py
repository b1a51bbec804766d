"""A round of rollouts on disk: everything comes back, to the last bit, or is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from latentvr.decoding.rollout import Rollout
from latentvr.errors import CheckpointError
from latentvr.rl.objective import Likelihoods
from latentvr.rl.round import Round, load_round, round_file, save_round, saved_places

WIDTH = 5
CPU = torch.device("cpu")


def a_rollout(tokens: int, latents: list[int], finish: Any, dtype: torch.dtype = torch.float32) -> Rollout:
    """A completion with a span for each number of latents."""
    spans = [torch.randn(n, WIDTH).to(dtype) for n in latents]
    return Rollout(
        ids=list(range(3, 3 + tokens)),
        slot=[i < sum(latents) for i in range(tokens)],
        sampled=[i >= sum(latents) for i in range(tokens)],
        log_probs=[-0.1 * i - math.pi * 1e-7 for i in range(tokens)],
        fed=torch.cat(spans) if spans else torch.zeros(0, WIDTH, dtype=dtype),
        spans=spans,
        prompt_latents=torch.randn(2, WIDTH).to(dtype),
        finish=finish,
    )


def a_round(old: int = 2, reference: int = 2, dtype: torch.dtype = torch.float32) -> Round:
    torch.manual_seed(0)
    rollouts = [
        a_rollout(4, [2], "end", dtype),
        a_rollout(7, [1, 3], "length", dtype),
        a_rollout(3, [], "stop", dtype),
        a_rollout(2, [0], "end", dtype),
    ]

    def scored(many: int) -> list[Likelihoods]:
        return [Likelihoods(torch.randn(2, 7), torch.randn(3, WIDTH)) for _ in range(many)]

    rewards_BF = torch.tensor([[1.0, math.nan], [0.1, 0.2], [math.nan, -3.0], [0.0, 1e-8]])
    return Round(
        number=3,
        places=[5, 5, 0, 0],
        samples=[],
        rollouts=rollouts,
        rewards_BF=rewards_BF,
        combined_B=rewards_BF.nansum(1),
        advantages_B=torch.randn(4),
        items=torch.tensor(11.0),
        old=scored(old),
        reference=scored(reference),
        gap=1.1920929e-07,
    )


def equal(a: Any, b: Any) -> bool:
    """Equality of nested values to the last bit, types and NaN included."""
    if isinstance(a, torch.Tensor):
        return (
            a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a.nan_to_num(7), b.nan_to_num(7)))
        )
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, Rollout | Likelihoods | Round):
        return type(a) is type(b) and all(equal(value, vars(b)[name]) for name, value in vars(a).items())
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize(("old", "reference"), [(2, 2), (0, 2), (2, 0), (0, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_everything_comes_back(old: int, reference: int, dtype: torch.dtype, tmp_path: Path) -> None:
    made = a_round(old, reference, dtype)
    save_round(made, tmp_path, 0)
    assert equal(load_round(tmp_path, 0, [], CPU), made)
    assert saved_places(tmp_path, 0) == [5, 5, 0, 0]


def test_the_comparison_sees_what_differs() -> None:
    made, other = a_round(), a_round()
    assert equal(made, other)
    other.rollouts[1].spans[1][0, 0] += 1e-6
    assert not equal(made, other)
    assert not equal(a_round(), a_round(old=0))


def test_spans_and_likelihoods_share_no_memory_with_the_file_of_another_rank(tmp_path: Path) -> None:
    """Each rank has a file of its own."""
    first, second = a_round(), a_round(old=0)
    save_round(first, tmp_path, 0)
    save_round(second, tmp_path, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [round_file(0), round_file(1)]
    assert equal(load_round(tmp_path, 0, [], CPU), first)
    assert equal(load_round(tmp_path, 1, [], CPU), second)


def test_slices_and_gradients_of_a_live_round_can_be_saved(tmp_path: Path) -> None:
    """Views of one tensor and tensors with a gradient are what a trainer holds."""
    made = a_round()
    whole = torch.randn(4, 7, requires_grad=True)
    made.old = [Likelihoods(whole[:2], made.old[0].means_RD), Likelihoods(whole[2:], made.old[1].means_RD)]
    save_round(made, tmp_path, 0)
    found = load_round(tmp_path, 0, [], CPU)
    assert torch.equal(torch.cat([entry.log_probs_BT for entry in found.old]), whole.detach())
    assert not found.old[0].log_probs_BT.requires_grad


def test_between_two_rounds_there_is_nothing(tmp_path: Path) -> None:
    assert saved_places(tmp_path, 0) is None


def _rewritten(gone: str = "", **facts: Any) -> Callable[[Path], None]:
    """Damage that leaves a readable file: without a tensor or a fact, or with other facts."""

    def damage(file: Path) -> None:
        with safe_open(file, framework="pt") as opened:
            known = json.loads(opened.metadata()["facts"])
        tensors = load_file(file)
        assert not gone or gone in {**known, **tensors}
        kept = {name: tensor for name, tensor in tensors.items() if name != gone}
        told = {name: value for name, value in {**known, **facts}.items() if name != gone}
        save_file(kept, file, metadata={"facts": json.dumps(told)})

    return damage


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-8]),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("{}"),
    "no facts": lambda file: save_file(load_file(file), file),
    "facts of another kind": lambda file: save_file(load_file(file), file, metadata={"facts": "nonsense"}),
    "no advantages": _rewritten("advantages"),
    "a span is missing": _rewritten("rollout.1.spans.1"),
    "more likelihoods than there are": _rewritten(old=3),
    "no number": _rewritten("number"),
    "no places": _rewritten("places"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    save_round(a_round(), tmp_path, 0)
    file = tmp_path / round_file(0)
    DAMAGE[name](file)
    with pytest.raises(CheckpointError) as raised:
        load_round(tmp_path, 0, [0] * len(saved_places(tmp_path, 0) or ()), CPU)  # type: ignore[list-item]
    message = str(raised.value)
    assert message.startswith("expected a round of rollouts, got: ")
    assert message.endswith(f", at {str(file)!r}; fix: resume from another checkpoint")
    assert "\n" not in message
