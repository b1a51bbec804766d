"""The batched decoding loop: one prefill, one cache, greedy choice, any visibility.

Shape letters: B batch, S prompt, T tokens in the cache, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from latentvr.attention.kernels import AttentionInputs
from latentvr.attention.mask import decode_mask
from latentvr.attention.roles import Role
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Batch, Stage


@dataclass(frozen=True)
class Written:
    """What the model wrote for one row.

    Attributes:
        ids: token ids, without the end token.
        log_probs: natural log-probability of each id.
        latents: hidden states at the row's latent positions (K, D), after the final norm.
    """

    ids: list[int]
    log_probs: list[float]
    latents: Tensor


@torch.no_grad()
def generate(model: LatentModel, batch: Batch, stage: Stage, max_new_tokens: int) -> list[Written]:
    """Write an answer for each row.

    Args:
        model: in evaluation mode.
        batch: left-padded prompts without answers, from `collate(..., side="left")`.
        stage: gives the visibility at test, which holds for the prompt and for every new token.
        max_new_tokens: longest answer.

    Returns:
        One answer per row, B in all.
    """
    cache = DynamicCache(config=model.backbone.text_config)
    prompt_BSD = model.hidden(batch, model.features(batch), stage, cache)
    hidden = prompt_BSD[:, -1]
    key_roles = batch["roles"]
    position = batch["position_ids"][:, :, -1:] + 1
    ends = model.end_ids
    end, stops = ends[0], torch.tensor(ends, device=hidden.device)
    done = torch.zeros(len(key_roles), dtype=torch.bool, device=hidden.device)
    ids: list[Tensor] = []
    log_probs: list[Tensor] = []
    while True:
        scores, best = model.logits(hidden).log_softmax(-1).max(-1)
        ids.append(torch.where(done, end, best))
        log_probs.append(scores)
        done = done | torch.isin(ids[-1], stops)
        if len(ids) >= max_new_tokens or bool(done.all()):
            break
        key_roles = torch.cat([key_roles, torch.full_like(key_roles[:, :1], int(Role.ANSWER))], 1)
        mask = decode_mask(stage.visibility, key_roles, Role.ANSWER)
        embeds = model.backbone.embed(ids[-1][:, None])
        hidden = model.backbone.decode(embeds, position, AttentionInputs(mask), cache=cache)[:, -1]
        position = position + 1
    return _rows(ids, log_probs, ends, prompt_BSD, batch["roles"] == Role.LATENT)


def _rows(
    ids: list[Tensor], log_probs: list[Tensor], ends: list[int], prompt_BSD: Tensor, latent_BS: Tensor
) -> list[Written]:
    """Cut each row at its end token."""
    written, scores = torch.stack(ids, 1).tolist(), torch.stack(log_probs, 1).tolist()
    out = []
    for i, row in enumerate(written):
        length = next((n for n, token in enumerate(row) if token in ends), len(row))
        out.append(Written(row[:length], scores[i][:length], prompt_BSD[i, latent_BS[i]]))
    return out
