"""The beginning of prompts in a cache, from which several continuations go on.

What stands before the first latent slot is the same whatever is done to the latents: it is computed once.

Shape letters: B batch, S columns of the prompts, T columns of the prompts and what follows them, C columns
in the cache, F feature levels, N visual tokens, L layers, R latent slots of all prompts, K of one, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from latentvr.attention.kernels import AttentionInputs
from latentvr.attention.mask import reference_mask
from latentvr.models.latent_model import LatentModel
from latentvr.models.layer_inputs import layer_inputs
from latentvr.models.scoring import replayed_slots
from latentvr.reasoners.base import Batch, Stage


@dataclass(frozen=True)
class Prefix:
    """The first columns of a batch of prompts.

    Attributes:
        batch: the whole prompts, padded on the left.
        stage: gives the visibility, which continuations share.
        features_FND: visual features of the batch, or None without images.
        columns: number of columns C in the cache.
        cache: of transformers; never changed, continuations have copies.
        latents: hidden states (K, D) after the final norm at the latent slots of each prompt; None where the
            slots are not in the cache.
        inputs: what went into each layer there (L, K, D).
    """

    batch: Batch
    stage: Stage
    features_FND: Tensor | None
    columns: int
    cache: Any
    latents: tuple[Tensor, ...] | None = None
    inputs: tuple[Tensor, ...] | None = None


def begin(model: LatentModel, batch: Batch, stage: Stage) -> Prefix:
    """Compute what stands before the first latent slot, or all but the last column where there is none.

    Args:
        model: any method.
        batch: prompts padded on the left, on the model's device.
        stage: gives the visibility.

    Returns:
        The prefix; one of no columns where images stand behind a latent slot.
    """
    features_FND, columns = model.features(batch), _columns(model, batch)
    cache: Any = DynamicCache(config=model.backbone.text_config)
    if columns:
        model.hidden(_cut(batch, columns), features_FND, stage, cache)
    return Prefix(batch, stage, features_FND, columns, cache)


def _columns(model: LatentModel, batch: Batch) -> int:
    """Columns before the first latent slot of any row; always fewer than all, so that something is left."""
    slot_S = model.slot_mask(batch).any(0).nonzero()[:, 0].tolist()
    columns = min([*slot_S, batch["input_ids"].shape[1] - 1])
    images_behind = torch.eq(batch["input_ids"][:, columns:], model.image_token_id).any()
    return 0 if bool(images_behind) else columns


def _cut(batch: Batch, columns: int) -> dict[str, Any]:
    """The first columns of a batch."""
    first = dict(batch)
    for key in ("input_ids", "roles", "labels", "position_ids"):
        first[key] = batch[key][..., :columns]
    return first


def grow(model: LatentModel, prefix: Prefix, given_LRD: Tensor | None = None) -> Prefix:
    """Take the latent slots of the prompts into the cache, all columns but the last.

    Args:
        model: the prefix is of.
        prefix: from `begin`.
        given_LRD: takes the place of hidden states at the slots, at the input of each layer, in row-major
            order; None leaves them.

    Returns:
        A prefix with `latents` and `inputs`; the same one where the prompts have no slots.

    Raises:
        ValueError: the last column is a latent slot, or `given_LRD` does not fit the slots.
    """
    slot_BS, columns = model.slot_mask(prefix.batch), prefix.batch["input_ids"].shape[1] - 1
    if not bool(slot_BS.any()):
        return prefix
    if bool(slot_BS[:, -1].any()):
        raise ValueError("expected text behind the latent slots of a prompt, got a slot at its end")
    first, found = _cut(prefix.batch, columns), list[Tensor]()
    slot_BT = slot_BS[:, prefix.columns : columns]
    with layer_inputs(model, slot_BT, given_LRD, found):
        hidden_BTD, cache = extend(model, prefix, first)
    counts = slot_BT.sum(1).tolist()
    return replace(
        prefix,
        columns=columns,
        cache=cache,
        latents=hidden_BTD[slot_BT].split(counts),
        inputs=torch.stack(found).split(counts, dim=1),
    )


def extend(model: LatentModel, prefix: Prefix, whole: Batch) -> tuple[Tensor, Any]:
    """Go on from a prefix.

    Args:
        model: the prefix is of.
        prefix: from `begin` or `grow`.
        whole: the prompts, or prompts with completions in further columns (`completion` and `recorded` as
            for `models.scoring.score`).

    Returns:
        Hidden states after the final norm (B, T - C, D), and the cache of all T columns.
    """
    columns = prefix.columns
    seen_FND = None if columns else model.prompt_features(whole, prefix.features_FND)
    rest = {key: whole[key][:, columns:] for key in ("input_ids", "roles")}
    mask = reference_mask(prefix.stage.visibility, whole["roles"], first=columns)
    cache = _copied(prefix.cache, model)
    hidden_BTD = model.backbone.decode(
        model.embeds(rest, seen_FND, _slots(model, prefix, whole)),
        whole["position_ids"][:, :, columns:],
        AttentionInputs(mask),
        seen_FND,
        torch.eq(rest["input_ids"], model.image_token_id),
        cache,
    )
    return hidden_BTD, cache


def _slots(model: LatentModel, prefix: Prefix, whole: Batch) -> Tensor | None:
    """What is fed at the slots behind a prefix: all slots, or those of completions alone."""
    if prefix.latents is not None:
        recorded: Tensor | None = whole.get("recorded")
        return recorded
    if "recorded" in whole:
        return replayed_slots(model, whole, prefix.features_FND, prefix.stage)
    return model.reasoner.slot_inputs(whole, prefix.features_FND, prefix.stage)


def _copied(cache: Any, model: LatentModel) -> DynamicCache:
    """A cache of its own with the same content."""
    out = DynamicCache(config=model.backbone.text_config)
    for number, layer in enumerate(cache.layers):
        if layer.is_initialized:
            out.update(layer.keys, layer.values, number)
    return out
