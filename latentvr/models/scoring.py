"""How likely a model finds what was written, in one forward pass with the latents that were fed then.

Teacher forcing with recorded latents makes the context of every token that of decoding, so that importance
ratios are exact.

Shape letters: B batch, S sequence, N visual tokens, F feature levels, D width, V vocabulary, L labelled
tokens, R latents fed in completions, K latent slots of prompts and completions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from latentvr.attention.roles import Role
from latentvr.data.encode import IGNORED
from latentvr.models.own_inputs import own_inputs

if TYPE_CHECKING:
    from latentvr.models.latent_model import LatentModel
    from latentvr.reasoners.base import Batch, Stage

#: Positions whose logits are in memory at once: 1 GB at a vocabulary of 152 000.
POSITIONS_AT_ONCE = 1024


@dataclass(frozen=True)
class Scoring:
    """What is asked.

    Attributes:
        temperature: logits are divided by it.
        suppress: tokens that are never written get no probability.
        latents: give gradient to the predictions of latents.
        deviations: give gradient to the deviations of a learned noise, which then have to enter the loss.
        regenerate: feed what the model predicts now, one latent after another, instead of what was recorded.
    """

    temperature: float = 1.0
    suppress: bool = True
    latents: bool = False
    deviations: bool = False
    regenerate: bool = False


class Scores(NamedTuple):
    """The answer; everything in row-major order. DeepSpeed finds tensors in tuples, not in other classes.

    Attributes:
        log_probs_L: natural log-probability of each labelled token.
        entropies_L: entropy of the distributions they were taken from, in nats; no gradient.
        means_RD: what the model predicts at each latent that was fed in a completion, in float32; it has
            gradient only where `Scoring.latents` asks for it.
        deviations: standard deviation (R, D) of a learned noise around these predictions, or None; it has
            gradient only where `Scoring.deviations` asks for it.
    """

    log_probs_L: Tensor
    entropies_L: Tensor
    means_RD: Tensor
    deviations: Tensor | None


def score(model: LatentModel, batch: Batch, stage: Stage, scoring: Scoring) -> Scores:
    """Score the labelled tokens of replayed completions.

    Args:
        model: with gradients where they are switched on.
        batch: from `replay_batch`: the keys of `collate`, `completion` (B, S), `before` (B, S) and
            `recorded` (R, D).
        stage: gives the visibility, that of the rollouts.
        scoring: what is asked.

    Returns:
        The scores.
    """
    features_FND = model.features(batch)
    slots = replayed_slots(model, batch, features_FND, stage)
    if scoring.regenerate and slots is not None:
        slots = own_inputs(model, batch, features_FND, stage, slots, 1.0)
    hidden_BSD = model.hidden(batch, features_FND, stage, slots=slots)
    labels_BS = batch["labels"]
    keep_BS = labels_BS != IGNORED
    predicting_LD = _predicting(hidden_BSD, batch, keep_BS)
    log_probs_L, entropies_L = _of_tokens(model, predicting_LD, labels_BS[keep_BS], scoring)
    with torch.set_grad_enabled(scoring.latents and torch.is_grad_enabled()):
        predicting_RD = _predicting(hidden_BSD, batch, latents_written(model, batch))
        means_RD = model.reasoner.latent_inputs(predicting_RD).float()
    with torch.set_grad_enabled(scoring.deviations and torch.is_grad_enabled()):
        deviations = model.reasoner.latent_deviations(predicting_RD)
    return Scores(log_probs_L, entropies_L, means_RD, None if deviations is None else deviations.float())


def _predicting(hidden_BSD: Tensor, batch: Batch, mask_BS: Tensor) -> Tensor:
    """Hidden states that predict what stands at the places of a mask, in row-major order."""
    row, _ = mask_BS.nonzero(as_tuple=True)
    return hidden_BSD[row, batch["before"][mask_BS]]


def latents_written(model: LatentModel, batch: Batch) -> Tensor:
    """Places (B, S) of the latents that were fed in completions."""
    out: Tensor = model.slot_mask(batch) & batch["completion"]
    return out


def replayed_slots(
    model: LatentModel, batch: Batch, features_FND: Tensor | None, stage: Stage
) -> Tensor | None:
    """What is fed at all latent slots: in completions what was recorded, in prompts what the method feeds.

    Args:
        model: its reasoner is asked about the prompts.
        batch: as for `score`.
        features_FND: visual features of the batch.
        stage: gives the visibility.

    Returns:
        (K, D) in row-major order; None where no completion has latents, so that the method is asked as ever.
    """
    recorded_RD: Tensor = batch["recorded"]
    if not len(recorded_RD):
        return None
    slot_BS, written_BS = model.slot_mask(batch), latents_written(model, batch)
    if torch.equal(slot_BS, written_BS):
        return recorded_RD
    prompts, pad = dict(batch), model.processor.tokenizer.pad_token_id
    prompts["roles"] = batch["roles"].masked_fill(batch["completion"], int(Role.PAD))
    prompts["input_ids"] = batch["input_ids"].masked_fill(batch["completion"], pad)
    fed = model.reasoner.slot_inputs(prompts, features_FND, stage)
    if fed is None:
        fed = model.embed(batch["input_ids"])[slot_BS & ~written_BS]
    written_K1 = written_BS[slot_BS].unsqueeze(-1)
    out = fed.new_zeros(len(written_K1), fed.shape[-1])
    out = out.masked_scatter(~written_K1, fed)
    return out.masked_scatter(written_K1, recorded_RD.to(out.dtype))


def _of_tokens(
    model: LatentModel, hidden_LD: Tensor, ids_L: Tensor, scoring: Scoring
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (L,), some positions at a time: never L x V logits of a long batch."""

    def scored(hidden: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        logits = model.logits(hidden, scoring.suppress) / scoring.temperature
        log_probs = logits.log_softmax(-1)
        entropies = torch.special.entr(log_probs.detach().exp()).sum(-1)
        return log_probs.gather(-1, ids.unsqueeze(-1))[:, 0], entropies

    parts = list(zip(hidden_LD.split(POSITIONS_AT_ONCE), ids_L.split(POSITIONS_AT_ONCE), strict=True))
    if len(parts) > 1 and torch.is_grad_enabled():
        found = [checkpoint(scored, hidden, ids, use_reentrant=False) for hidden, ids in parts]
    else:
        found = [scored(hidden, ids) for hidden, ids in parts]
    log_probs, entropies = zip(*found, strict=True)
    return torch.cat(log_probs), torch.cat(entropies)
