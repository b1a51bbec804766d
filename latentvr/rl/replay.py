"""Rollouts as a batch that one forward pass can score: prompts, completions and the latents that were fed.

Shape letters: B completions, S sequence of a row, T tokens of the longest completion, L tokens that the model
chose, R latents fed in completions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.data.collate import collate
from latentvr.data.encode import IGNORED, EncodedSample
from latentvr.decoding.rollout import Rollout
from latentvr.models.latent_model import LatentModel


def replay_batch(
    model: LatentModel,
    samples: Sequence[EncodedSample],
    rollouts: Sequence[Rollout],
    side: Literal["right", "left"] = "right",
    share: bool = False,
) -> dict[str, Any]:
    """Put prompts and completions together.

    Roles and positions are those of decoding: a slot and a marker that shares its sight have the role LATENT,
    and every token stands one position after the one before it. Labels are set at tokens that the model
    chose, and nowhere else.

    Args:
        model: says which tokens share the sight of latents.
        samples: prompts without answers, one for each completion.
        rollouts: B completions.
        side: where the padding goes.
        share: put neighbouring completions of one prompt, the same object, into one row behind a single copy
            of it. They do not see each other, so the scores are those of separate rows.

    Returns:
        The keys of `collate`; `completion` (rows, S), True at the tokens of completions; `before` (rows, S),
        the column that predicts each token; `branches` (rows, S) where rows are shared: 0 in the prompt, and
        the number of each completion in its row; `recorded` (R, D), what was fed at the latent slots of
        completions in row-major order; and three masks of the completions' columns (B, T): `chosen`, tokens
        that the model chose; `slot`, places where anything was fed; `latent`, those of them that are latents
        and no end vectors.
    """
    markers = frozenset(model.get_buffer("markers").tolist())
    groups = _groups(samples, share)
    whole = [_joined(samples[part.start], rollouts[part], markers) for part in groups]
    batch = collate(whole, model.processor.tokenizer.pad_token_id, side)
    length = batch["input_ids"].shape[1]
    branches = torch.full((len(groups), length), -1)
    before = torch.arange(-1, length - 1).clamp(min=0).repeat(len(groups), 1)
    for row, (part, sample) in enumerate(zip(groups, whole, strict=True)):
        first = 0 if side == "right" else length - len(sample.ids)
        at = first + sample.prompt_length
        branches[row, first:at] = 0
        for number, rollout in enumerate(rollouts[part], 1):
            before[row, at] = first + sample.prompt_length - 1
            branches[row, at : at + len(rollout.ids)] = number
            at += len(rollout.ids)
    batch.update(completion=branches > 0, before=before)
    if len(groups) < len(samples):  # else rows are plain ones, for which there are kernels without a mask
        batch["branches"] = branches
    batch["recorded"] = torch.cat([rollout.fed for rollout in rollouts])
    longest = max(len(rollout.ids) for rollout in rollouts)
    batch["chosen"] = _padded([rollout.sampled for rollout in rollouts], longest)
    batch["slot"] = _padded([rollout.slot for rollout in rollouts], longest)
    batch["latent"] = _padded([_latents(model, rollout) for rollout in rollouts], longest)
    return batch


def _groups(samples: Sequence[EncodedSample], share: bool) -> list[slice]:
    """Neighbouring completions that go into one row."""
    starts = [i for i, sample in enumerate(samples) if not (share and i and sample is samples[i - 1])]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(samples)], strict=True)]


def _latents(model: LatentModel, rollout: Rollout) -> list[bool]:
    """Which slots hold latents: an end vector has a token of its own."""
    span = model.reasoner.span()
    wanted = None if span is None else model.token_ids[span.slot]
    return [slot and token == wanted for token, slot in zip(rollout.ids, rollout.slot, strict=True)]


def _joined(sample: EncodedSample, rollouts: Sequence[Rollout], markers: frozenset[int]) -> EncodedSample:
    """A prompt with its completions, each at the positions that it has on its own."""
    ids, roles, labels, positions = [sample.ids], [sample.roles], [sample.labels], [sample.positions]
    labels[0] = torch.full_like(sample.labels, IGNORED)
    for rollout in rollouts:
        written = torch.tensor(rollout.ids, dtype=sample.ids.dtype)
        sees = [slot or token in markers for token, slot in zip(rollout.ids, rollout.slot, strict=True)]
        role = torch.where(torch.tensor(sees), int(Role.LATENT), int(Role.ANSWER))
        steps = torch.arange(1, len(written) + 1, dtype=sample.positions.dtype)
        ids.append(written)
        roles.append(role.to(sample.roles.dtype))
        labels.append(torch.where(torch.tensor(rollout.sampled), written, IGNORED))
        positions.append(sample.positions[:, -1:] + steps)
    return replace(
        sample,
        ids=torch.cat(ids),
        roles=torch.cat(roles),
        labels=torch.cat(labels),
        positions=torch.cat(positions, 1),
        prompt_length=len(sample.ids),
    )


def _padded(rows: Sequence[Sequence[bool]], longest: int) -> Tensor:
    """Rows of columns (B, T), False after their ends."""
    return torch.tensor([[*row, *[False] * (longest - len(row))] for row in rows])


def columns(values: Tensor, mask_BT: Tensor) -> Tensor:
    """Put values in row-major order into the columns of completions, zeros elsewhere.

    Args:
        values: one for each True of the mask.
        mask_BT: where they go.

    Returns:
        (B, T).
    """
    return values.new_zeros(mask_BT.shape).masked_scatter(mask_BT, values)
