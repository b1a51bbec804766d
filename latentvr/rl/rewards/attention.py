"""Reward for answers that look at their latents.

Shape letters: B completions, H heads, S sequence, T columns from the first query on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.evaluation.attention import read_attention
from latentvr.evaluation.evaluate import on_device
from latentvr.models.latent_model import LatentModel
from latentvr.models.scoring import replayed_slots
from latentvr.reasoners.base import Batch
from latentvr.rl.replay import replay_batch
from latentvr.rl.rewards.context import RewardContext
from latentvr.rl.rewards.latents import require_latents

#: Completions that go through the model together, at most.
TOGETHER = 32
#: Weights of a layer that are in memory at once, at most: 1 GiB in float32. A longer completion goes alone.
WEIGHTS = 1 << 28


def attention_reward(
    prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
) -> list[float | None]:
    """Attention of the text after the latents to the latents (arXiv 2605.18641).

    Completions are replayed with the latents that were fed and under the rollouts' visibility. The weights of
    one text token are summed over the latents before it, then averaged over heads, chosen layers and the
    tokens of the completion after its last latent, its end of turn included. Markers of spans are no text,
    an end vector is no latent. With latents in the prompt every token of the completion counts.

    Args:
        prompts: not looked at.
        completions: not looked at: their tokens are in the rollouts.
        **columns: `context` of the round; its `rl.attention_layers` chooses layers, all where it is empty.

    Returns:
        For each completion a share between 0 and 1; 0 where it has no latents, or no text after them.

    Raises:
        UserError: the method has no latents, or the model has no such layer.
    """
    del prompts, completions
    context: RewardContext = columns["context"]
    require_latents(context, "attention")
    out: list[float | None] = [None] * len(context.rollouts)
    for places in _groups(context):
        for place, share in zip(places, _shares(context, places), strict=True):
            out[place] = share
    return out


def _groups(context: RewardContext) -> Iterator[list[int]]:
    """Completions of similar length, as many as fit into memory."""
    lengths = [len(sample.ids) + len(rollout.ids) for sample, rollout in
               zip(context.samples, context.rollouts, strict=True)]  # fmt: skip
    heads = int(context.model.backbone.text_config.num_attention_heads)
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        weights = (len(group) + 1) * heads * lengths[place] ** 2
        if group and (len(group) == TOGETHER or weights > WEIGHTS):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


@torch.no_grad()
def _shares(context: RewardContext, places: Sequence[int]) -> list[float]:
    """The rewards of some completions, from one forward pass."""
    model = context.model
    batch = on_device(
        replay_batch(model, [context.samples[i] for i in places], [context.rollouts[i] for i in places]),
        model,
    )
    latent_BS = _latents(model, batch)
    query_BS = _texts(model, batch, latent_BS)
    if not bool(query_BS.any()):
        return [0.0] * len(places)
    first = int(query_BS.any(0).nonzero()[0, 0])
    query_BT = query_BS[:, first:].double()
    share_B = torch.zeros(len(places), dtype=torch.float64, device=query_BT.device)

    def add(layer: int, weights_BHSS: Tensor) -> None:
        del layer
        to_latents_BHT = (weights_BHSS[:, :, first:].float() * latent_BS[:, None, None]).sum(-1)
        share_B.add_((to_latents_BHT.mean(1).double() * query_BT).sum(-1))

    slots = partial(replayed_slots, model, batch, stage=context.stage)
    layers = read_attention(
        model, batch, context.stage.visibility, add, slot_inputs=slots, layers=context.rl.attention_layers
    )
    shares: list[float] = (share_B / query_BT.sum(-1).clamp(min=1) / layers).tolist()
    return shares


def _latents(model: LatentModel, batch: Batch) -> Tensor:
    """Places of latents (B, S); an end vector is none."""
    span = model.reasoner.span()
    closing = [] if span is None else [model.token_ids[text] for text in span.end]
    ids_BS: Tensor = batch["input_ids"]
    out: Tensor = model.slot_mask(batch) & ~torch.isin(ids_BS, ids_BS.new_tensor(closing))
    return out


def _texts(model: LatentModel, batch: Batch, latent_BS: Tensor) -> Tensor:
    """Text tokens of completions after their last latent (B, S); none in rows without latents."""
    span = model.reasoner.span()
    markers = [] if span is None else [model.token_ids[text] for text in (span.start, *span.end)]
    ids_BS: Tensor = batch["input_ids"]
    place_S = torch.arange(ids_BS.shape[1], device=ids_BS.device)
    last_B1 = torch.where(latent_BS, place_S, -1).amax(1, keepdim=True)
    text_BS: Tensor = torch.eq(batch["roles"], int(Role.ANSWER))
    text_BS &= ~torch.isin(ids_BS, ids_BS.new_tensor(markers))
    return text_BS & torch.gt(place_S, last_B1) & latent_BS.any(1, keepdim=True)
