"""What can be fed at the latent slots of an answer instead of the model's own latents.

A replacement holds for every latent span that an answer opens: where there are more spans than latents given,
the last given ones serve the others too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentvr.attention.visibility import CAUSAL
from latentvr.data.collate import collate
from latentvr.data.record import Source
from latentvr.decoding.rollout import Rollout
from latentvr.evaluation.evaluate import Feed, on_device
from latentvr.evaluation.prompts import encoder_for
from latentvr.models.features import cache_features
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Stage

#: Records that are encoded together.
TOGETHER = 64


def nothing(width: int) -> Feed:
    """Spans without slots: the markers alone; `width` is D."""
    empty = [torch.zeros(0, width)]
    return lambda _: empty


def zeros(written: dict[int, Rollout], steps: int, width: int) -> Feed:
    """Zeros in as many slots as the model filled, or in `steps` slots of width D where it filled none."""
    default = [torch.zeros(steps, width)]

    def feed(place: int) -> list[Tensor]:
        return [torch.zeros_like(span) for span in written[place].spans] or default

    return feed


def anothers(written: dict[int, Rollout], source: Source) -> Feed | None:
    """The latents of the next record with another answer that has any.

    Args:
        written: rollouts by place.
        source: gives the answers.

    Returns:
        Latents by place; None where a record finds no such other.
    """
    records, count = source.records, len(source.records)
    donors: dict[int, int] = {}
    for place in range(count):
        for other in ((place + step) % count for step in range(1, count)):
            if records[other].answer != records[place].answer and len(written[other].fed):
                donors[place] = other
                break
        else:
            return None
    return lambda place: written[donors[place]].spans


@torch.no_grad()
def true_latents(model: LatentModel, source: Source, max_length: int) -> Feed | None:
    """What training feeds: the embeddings of each record's own regions.

    Args:
        model: its reasoner knows the targets.
        source: records and images.
        max_length: longest sample in tokens.

    Returns:
        Latents by place; None where a record has no regions.
    """
    records, span = source.records, model.reasoner.span()
    if span is None or not all(record.bboxes for record in records):
        return None
    encoder, stage = encoder_for(model, max_length), Stage("true latents", CAUSAL)
    out: list[list[Tensor]] = []
    for start in range(0, len(records), TOGETHER):
        samples = [encoder.encode(r, source.images(r)) for r in records[start : start + TOGETHER]]
        cache_features(model, samples)
        batch = on_device(collate(samples, model.processor.tokenizer.pad_token_id), model)
        slots = model.reasoner.slot_inputs(batch, model.features(batch), stage)
        if slots is None:
            return None
        mask_BS = model.slot_mask(batch)
        ids_BS = torch.as_tensor(batch["input_ids"])
        for mask_S, ids_S, row_LD in zip(mask_BS, ids_BS, slots.split(mask_BS.sum(1).tolist()), strict=True):
            own_S = mask_S & torch.eq(ids_S, model.token_ids[span.slot])
            out.append(_runs(own_S, row_LD[own_S[mask_S]]))
    return lambda place: out[place]


def _runs(slot_S: Tensor, row_LD: Tensor) -> list[Tensor]:
    """Cut a row's latents where other tokens stand between them."""
    places = slot_S.nonzero()[:, 0]
    cuts = (places.diff() > 1).nonzero()[:, 0] + 1
    return list(row_LD.tensor_split(cuts.cpu()))
