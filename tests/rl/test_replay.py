"""Completions laid out for one forward pass.

Breaks when: a label stands at a slot or at a marker nobody chose, a role or position is not that of decoding,
or columns of completions and places of sequences do not name the same tokens.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.data.encode import IGNORED
from latentvr.decoding.rollout import Rollout
from latentvr.rl.replay import columns, replay_batch

SIDES = pytest.mark.parametrize("side", ["right", "left"])


def _rollout(ids: list[int], slots: list[int], forced: list[int], width: int) -> Rollout:
    """A completion with other numbers in each slot."""
    slot = [i in slots for i in range(len(ids))]
    sampled = [i not in slots and i not in forced for i in range(len(ids))]
    fed = torch.arange(len(slots) * width).float().view(-1, width) + len(ids)
    return Rollout(ids, slot, sampled, [-1.0] * len(ids), fed, [], fed[:0], "length")


def _round(lab: Any) -> tuple[Any, list[Any], list[Rollout]]:
    """Three prompts of different lengths: two latents and an end vector, none, and one at the very end."""
    model = lab.model("tiny-qwen2.5-vl", "lvr", layout="A", end_vector=True)
    ids, span, width = model.token_ids, model.reasoner.span(), model.backbone.width
    start, slot, (closing, end) = ids[span.start], ids[span.slot], (ids[text] for text in span.end)
    samples = lab.encode(model, list(lab.records.values())[:3], answer=False)
    rollouts = [
        _rollout([start, slot, slot, closing, end, 8, 9], [1, 2, 3], [4], width),
        _rollout([7], [], [], width),
        _rollout([5, start, slot], [2], [], width),
    ]
    return model, samples, rollouts


@SIDES
def test_each_row_is_a_prompt_and_what_followed(lab: Any, side: Any) -> None:
    model, samples, rollouts = _round(lab)
    batch = replay_batch(model, samples, rollouts, side)
    for i, (sample, rollout) in enumerate(zip(samples, rollouts, strict=True)):
        there = batch["roles"][i] != int(Role.PAD)
        ids, roles = batch["input_ids"][i][there], batch["roles"][i][there]
        positions, completion = batch["position_ids"][:, i, there], batch["completion"][i]
        n = len(sample.ids)
        assert ids.tolist() == [*sample.ids.tolist(), *rollout.ids]
        assert torch.equal(roles[:n], sample.roles)
        assert torch.equal(positions[:, :n], sample.positions)
        steps = torch.arange(1, len(rollout.ids) + 1)
        assert torch.equal(positions[:, n:], sample.positions[:, -1:] + steps)
        assert completion.sum() == len(rollout.ids)
        assert completion[there][n:].all()
        labels = batch["labels"][i]
        assert (labels[~completion] == IGNORED).all()
        chosen = [t if mine else IGNORED for t, mine in zip(rollout.ids, rollout.sampled, strict=True)]
        assert labels[completion].tolist() == chosen


@SIDES
def test_latents_and_the_markers_with_their_sight_have_their_role(lab: Any, side: Any) -> None:
    model, samples, rollouts = _round(lab)
    batch = replay_batch(model, samples, rollouts, side)
    found = [batch["roles"][i][batch["completion"][i]].tolist() for i in range(3)]
    latent, answer = int(Role.LATENT), int(Role.ANSWER)
    assert found == [[latent] * 4 + [answer] * 3, [answer], [answer, latent, latent]]
    written = model.slot_mask(batch) & batch["completion"]
    assert written.sum(1).tolist() == [3, 0, 1]
    assert torch.equal(batch["recorded"], torch.cat([rollout.fed for rollout in rollouts]))


@SIDES
def test_columns_name_the_same_tokens(lab: Any, side: Any) -> None:
    """An end vector is fed in a slot and is no latent."""
    model, samples, rollouts = _round(lab)
    batch = replay_batch(model, samples, rollouts, side)
    assert batch["chosen"].shape == batch["slot"].shape == batch["latent"].shape == (3, 7)
    assert batch["slot"].int().tolist() == [[0, 1, 1, 1, 0, 0, 0], [0] * 7, [0, 0, 1, 0, 0, 0, 0]]
    assert batch["latent"].int().tolist() == [[0, 1, 1, 0, 0, 0, 0], [0] * 7, [0, 0, 1, 0, 0, 0, 0]]
    assert batch["chosen"].int().tolist() == [[1, 0, 0, 0, 0, 1, 1], [1, *[0] * 6], [1, 1, *[0] * 5]]
    labels = batch["labels"][batch["labels"] != IGNORED]
    laid = columns(labels, batch["chosen"])
    rows = [[t for t, mine in zip(r.ids, r.sampled, strict=True) if mine] for r in rollouts]
    assert [row[mask].tolist() for row, mask in zip(laid, batch["chosen"], strict=True)] == rows
    assert not laid[~batch["chosen"]].any()


def test_the_prompts_are_left_as_they_were(lab: Any) -> None:
    """Completions of a prompt share its sample."""
    model, samples, rollouts = _round(lab)
    before = [sample.ids.clone() for sample in samples]
    replay_batch(model, [samples[0]] * 3, rollouts)
    assert all(torch.equal(a, sample.ids) for a, sample in zip(before, samples, strict=True))


def test_columns_carry_gradients() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    laid = columns(values, torch.tensor([[False, True], [True, False]]))
    assert laid.tolist() == [[0.0, 1.0], [2.0, 0.0]]
    (laid * torch.tensor([[5.0, 3.0], [7.0, 5.0]])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [3.0, 7.0]
