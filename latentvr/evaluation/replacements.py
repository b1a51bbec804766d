"""What can be fed at the latent slots of an answer instead of the model's own latents."""

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


def nothing(written: dict[int, Rollout]) -> Feed:
    """Spans without slots: the markers alone."""
    return lambda place: [span[:0] for span in written[place].spans]


def zeros(written: dict[int, Rollout]) -> Feed:
    """Zeros in as many slots as the model filled."""
    return lambda place: [torch.zeros_like(span) for span in written[place].spans]


def anothers(written: dict[int, Rollout], source: Source) -> Feed:
    """The latents of the next record with another answer that has any; spans beyond its own stay.

    Args:
        written: rollouts by place.
        source: gives the answers.

    Returns:
        Latents by place.
    """
    records, count = source.records, len(source.records)

    def feed(place: int) -> list[Tensor]:
        others = ((place + step) % count for step in range(1, count))
        for other in others:
            if records[other].answer != records[place].answer and written[other].spans:
                return written[other].spans
        return written[place].spans

    return feed


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
    records = source.records
    if not all(record.bboxes for record in records):
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
        latent_BS = model.slots(batch)
        rows = slots.split(latent_BS.sum(1).tolist())
        out += [_runs(latent_S, row) for latent_S, row in zip(latent_BS, rows, strict=True)]
    return lambda place: out[place]


def _runs(latent_S: Tensor, row_LD: Tensor) -> list[Tensor]:
    """Cut a row's latents where text stands between them."""
    places = latent_S.nonzero()[:, 0]
    cuts = (places.diff() > 1).nonzero()[:, 0] + 1
    return list(row_LD.tensor_split(cuts.cpu()))
