"""What training feeds at the latent slots of answers: the embeddings of regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from latentvr.attention.visibility import CAUSAL
from latentvr.data.collate import collate
from latentvr.data.record import Box, Record
from latentvr.data.regions import region_rectangle
from latentvr.diagnostics.recorded import Latents, NotApplicable, drawn
from latentvr.evaluation.evaluate import on_device
from latentvr.evaluation.prompts import Prompts
from latentvr.models.features import cache_features, lent
from latentvr.models.latent_model import LatentModel
from latentvr.reasoners.base import Stage

#: Records that are encoded together.
TOGETHER = 64


@torch.no_grad()
def region_latents(model: LatentModel, prompts: Prompts, records: Sequence[Record]) -> list[Latents]:
    """Ask the method what training feeds for some records.

    Args:
        model: its reasoner knows the targets.
        prompts: of the source that the records are of; images that were encoded are not encoded anew.
        records: by place in the source, perhaps with other boxes.

    Returns:
        For each record (n, D) for each span of its answer.

    Raises:
        NotApplicable: the method feeds no regions, or a record has none.
    """
    span = model.reasoner.span()
    if span is None:
        raise NotApplicable("the method feeds no embeddings of regions")
    boxless = sum(not record.bboxes for record in records)
    if boxless:
        raise NotApplicable(f"{boxless} of {len(records)} records have no regions")
    out: list[Latents] = []
    for start in range(0, len(records), TOGETHER):
        samples = []
        for place, record in enumerate(records[start : start + TOGETHER], start):
            found = lent(model, prompts.kept[place]) if place in prompts.kept else None
            images = prompts.source.images(record)
            if found is None:
                samples.append(prompts.encoder.encode(record, images))
            else:
                sample = prompts.encoder.encode(record, images, grid=found[1])
                samples.append(replace(sample, features=found[0]))
        cache_features(model, samples)
        batch = on_device(collate(samples, model.processor.tokenizer.pad_token_id), model)
        slots = model.reasoner.slot_inputs(batch, model.features(batch), Stage("regions", CAUSAL))
        if slots is None:
            raise NotApplicable("the method feeds no embeddings of regions")
        mask_BS = model.slot_mask(batch)
        ids_BS = torch.as_tensor(batch["input_ids"])
        for mask_S, ids_S, row_LD in zip(mask_BS, ids_BS, slots.split(mask_BS.sum(1).tolist()), strict=True):
            own_S = mask_S & torch.eq(ids_S, model.token_ids[span.slot])
            out.append(_runs(own_S, row_LD[own_S[mask_S]]))
    return out


def _runs(slot_S: Tensor, row_LD: Tensor) -> list[Tensor]:
    """Cut a row's latents where other tokens stand between them."""
    places = slot_S.nonzero()[:, 0]
    cuts = (places.diff() > 1).nonzero()[:, 0] + 1
    return [part.cpu() for part in row_LD.tensor_split(cuts.cpu())]


def elsewhere(prompts: Prompts, place: int, seed: int) -> Record:
    """A record with its boxes moved, by whole visual tokens, to random places of their images.

    Regions are rounded outwards to visual tokens: a box that moved by less would cover more of them.

    Args:
        prompts: of the source, used and kept.
        place: of the record.
        seed: of the draw.

    Returns:
        The record; a box is moved wherever it has another place.
    """
    record, generator = prompts.source.records[place], drawn(seed, place)
    merge = int(prompts.model.processor.image_processor.merge_size)
    placed = [part.image for part in prompts.encoder.layout(record).user if part.kind == "image"]
    grids = dict(zip(placed, prompts.kept[place].grid, strict=True))
    return replace(
        record, bboxes=tuple(_moved(box, grids[box.image], merge, generator) for box in record.bboxes)
    )


def _moved(box: Box, grid: Tensor, merge: int, generator: torch.Generator) -> Box:
    """The box at another place of its image, over as many visual tokens."""
    rows, columns = (int(n) // merge for n in grid[1:])
    y0, x0, y1, x1 = region_rectangle(box.box, grid, merge)
    high, wide = y1 - y0, x1 - x0
    others = [(y, x) for y in range(rows - high + 1) for x in range(columns - wide + 1) if (y, x) != (y0, x0)]
    if not others:
        return box
    y, x = others[int(torch.randint(len(others), (1,), generator=generator))]
    # A hair inside the tokens: rounding must not take in their neighbours.
    inset = 0.25 / merge
    corners = (
        (x + inset) / columns, (y + inset) / rows, (x + wide - inset) / columns, (y + high - inset) / rows
    )  # fmt: skip
    return Box(box.image, corners)
