"""The prompts in a cache: from scratch, or going on from a beginning that several answers share.

Shape letters: B prompts, S columns, K latent slots of a prompt, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache

from latentvr.config.schema import DecodeConfig
from latentvr.models.latent_model import LatentModel
from latentvr.models.prefix import Prefix, extend
from latentvr.reasoners.base import Batch, Stage


@dataclass(frozen=True)
class Prefilled:
    """Prompts that answers go on from.

    Attributes:
        hidden_BSD: hidden states after the final norm, of the columns that were not in the prefix.
        cache: holds each prompt as often as it is answered.
        slot_BS: latent slots in these columns.
        before: hidden states (K, D) at the slots that the prefix holds; None where it holds none.
    """

    hidden_BSD: Tensor
    cache: Any
    slot_BS: Tensor
    before: tuple[Tensor, ...] | None

    def latents(self) -> list[Tensor]:
        """Hidden states (K, D) after the final norm at each prompt's latent slots."""
        if self.before is not None:
            return list(self.before)
        return [row[slots] for row, slots in zip(self.hidden_BSD, self.slot_BS, strict=True)]


def prefill(
    model: LatentModel,
    batch: Batch,
    stage: Stage,
    rollouts: int,
    decode: DecodeConfig,
    prefix: Prefix | None = None,
) -> Prefilled:
    """Run the prompts.

    Args:
        model: in evaluation mode.
        batch: prompts padded on the left.
        stage: gives the visibility.
        rollouts: answers per prompt.
        decode: kind of the cache and its length.
        prefix: what is computed already; None computes everything.

    Returns:
        The prompts, each `rollouts` times in the cache.
    """
    slot_BS = model.slot_mask(batch)
    length, columns, before = slot_BS.shape[1] + decode.max_new_tokens, 0, None
    cache: Any
    if prefix is None:
        cache = DynamicCache(config=model.backbone.text_config)
        hidden_BSD = model.hidden(batch, model.features(batch), stage, cache)
    else:
        hidden_BSD, cache = extend(model, prefix, batch)
        columns, before = prefix.columns, prefix.latents
    answers = _for_answers(model, cache, rollouts, decode, length)
    return Prefilled(hidden_BSD, answers, slot_BS[:, columns:], before)


def _for_answers(model: LatentModel, cache: Any, rollouts: int, decode: DecodeConfig, length: int) -> Any:
    """The cache as the loop wants it."""
    if decode.cache == "dynamic":
        if rollouts > 1:
            cache.batch_repeat_interleave(rollouts)
        return cache
    fixed = _FullLength(config=model.backbone.text_config, max_cache_len=length)
    for number, layer in enumerate(cache.layers):
        keys, values = (kept.repeat_interleave(rollouts, 0) for kept in (layer.keys, layer.values))
        fixed.update(keys, values, number)
        layer.keys, layer.values = layer.keys[:0], layer.values[:0]  # never two whole caches at once
    return fixed


class _FullLength(StaticCache):
    """A cache with room for the longest answer, in one number format.

    Under autocast rotary positions leave keys in float32 beside values in half precision.
    """

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Add a layer's keys and values; give all so far."""
        kind = key_states.device.type
        kept = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value_states.dtype
        found: tuple[Tensor, Tensor] = super().update(
            key_states.to(kept), value_states.to(kept), layer_idx, *args, **options
        )
        return found
