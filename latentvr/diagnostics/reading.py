"""What the model does with its latents, from one forward pass: attention to and from them, and states.

Attention is reduced layer by layer: one layer's weights (B, H, S, S) are in memory, never all layers'.

Shape letters: B batch, S sequence, K latent slots of a record, D width, N tokens of one role, R latents
fed in completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import Visibility
from latentvr.data.encode import IGNORED
from latentvr.data.record import Box
from latentvr.data.regions import region_tokens
from latentvr.errors import RecordError
from latentvr.evaluation.attention import (
    Map,
    SlotInputs,
    image_spans,
    latent_maps,
    received,
    require_answers,
)
from latentvr.models.latent_model import LatentModel
from latentvr.models.scoring import replayed_slots
from latentvr.reasoners.base import Batch, Stage

#: Where states are read: at the input of the decoder's middle layer, and after its final norm.
DEPTHS = ("middle", "last")


@dataclass(frozen=True)
class States:
    """Hidden states of one record at one depth, in float32 on the CPU.

    Attributes:
        latents_KD: at the latent slots.
        prompt_D: mean over the tokens with the role PROMPT.
        image_D: mean over the tokens with the role IMAGE; None without images.
    """

    latents_KD: Tensor
    prompt_D: Tensor
    image_D: Tensor | None


@dataclass(frozen=True)
class Reading:
    """One record. Every slot counts, that of an end vector too.

    Attributes:
        mass: attention of answer tokens to latents, summed over slots, averaged over heads, layers and answer
            tokens (arXiv 2512.21218, section 4.4.1); a share between 0 and 1, 0 without slots.
        slots_K: the same for each slot alone, in double precision; `mass` is its sum.
        to_image: attention of latents to visual tokens, summed over these, averaged over slots, heads and
            layers; None without slots or images.
        enrichment: of the attention that latents pay to visual tokens, the share inside the record's boxes,
            over the share of visual tokens inside them: 1 is what attention without preference gives. None
            without boxes or slots, and where latents pay images no attention at all.
        states: by depth: `middle` (input of decoder layer L // 2 of L) and `last` (after the final norm).
    """

    mass: float
    slots_K: Tensor
    to_image: float | None
    enrichment: float | None
    states: dict[str, States]


@torch.no_grad()
def read(
    model: LatentModel, batch: Batch, visibility: Visibility, boxes: Sequence[Sequence[Box]]
) -> list[Reading]:
    """Read a batch of completions, fed the latents that were recorded.

    Answer tokens are those with a label. A token of an answer that stands before a latent counts, with the
    nothing that it can see of it.

    Args:
        model: its kernel and its mode are as before afterwards.
        batch: B right-padded samples with answers on the model's device: the keys of `collate`,
            `completion` (B, S), True from the first answer token on, and `recorded` (R, D), what was fed at
            the slots of completions in row-major order.
        visibility: who sees whom.
        boxes: regions of interest of each sample.

    Returns:
        For each sample its reading.

    Raises:
        UserError: a sample has no answer tokens.
        RecordError: a box has no area, or names an image that the sample does not have.
    """
    answer_BS = torch.ne(batch["labels"], IGNORED)
    require_answers(answer_BS, batch)
    slot_BS = model.slot_mask(batch)
    inside = _inside(model, batch, boxes)
    with _states(model, batch, slot_BS) as states:
        by_answer_BS, by_latents_BS = received(
            model, batch, visibility, [answer_BS, slot_BS], _recorded(model, batch, visibility)
        )
    image_BS = torch.eq(batch["roles"], int(Role.IMAGE)).cpu()
    out = []
    for row, slot_S in enumerate(slot_BS.cpu()):
        slots_K = by_answer_BS[row][slot_S]
        to_image, enrichment = None, None
        if bool(slot_S.any()) and bool(image_BS[row].any()):
            to_image, enrichment = _of_image(by_latents_BS[row], image_BS[row], inside[row])
        of_row = {depth: states[depth][row] for depth in DEPTHS}
        out.append(Reading(float(slots_K.sum()), slots_K, to_image, enrichment, of_row))
    return out


def layer_maps(
    model: LatentModel, batch: Batch, visibility: Visibility, ranges: int = 3
) -> list[list[list[Map]]]:
    """Attention from each latent to each visual token, by ranges of layers (arXiv 2512.21218, figure 3).

    Args:
        model: its kernel and its mode are as before afterwards.
        batch: as for `read`, with or without labels.
        visibility: who sees whom.
        ranges: number of ranges of nearly equal length: with three the early, the middle and the late layers.

    Returns:
        For each sample, range and image, weights (K, rows, columns) averaged over heads and the range's
        layers; rows and columns count visual tokens.

    Raises:
        UserError: the model has fewer layers than there are ranges.
    """
    return latent_maps(model, batch, visibility, ranges, _recorded(model, batch, visibility))


def _recorded(model: LatentModel, batch: Batch, visibility: Visibility) -> SlotInputs:
    """Gives what is fed at the slots from the visual features."""
    return partial(replayed_slots, model, batch, stage=Stage("reading", visibility))


def _of_image(by_latents_S: Tensor, image_S: Tensor, inside_S: Tensor) -> tuple[float, float | None]:
    """Attention of latents to the image, and how much denser it is inside the boxes."""
    to_image = float(by_latents_S[image_S].sum())
    if not bool(inside_S.any()) or not to_image:
        return to_image, None
    share = float(by_latents_S[inside_S].sum()) / to_image
    return to_image, share / (int(inside_S.sum()) / int(image_S.sum()))


def _inside(model: LatentModel, batch: Batch, boxes: Sequence[Sequence[Box]]) -> Tensor:
    """Visual tokens inside the boxes of their sample (B, S), on the CPU."""
    merge = int(model.processor.image_processor.merge_size)
    out_BS = torch.zeros(batch["roles"].shape, dtype=torch.bool)
    samples = zip(out_BS, image_spans(model, batch), boxes, batch["sample_ids"], strict=True)
    for inside_S, images, wanted, name in samples:
        for box in wanted:
            if not 0 <= box.image < len(images):
                raise RecordError(
                    f"expected boxes on the sample's {len(images)} images, counted from 0, got one on image "
                    f"{box.image}, at sample {name!r}; fix: give an image that the prompt shows"
                )
            places, (rows, columns) = images[box.image]
            grid = torch.tensor([1, rows * merge, columns * merge])
            inside_S[places[region_tokens(box.box, grid, merge)]] = True
    return out_BS


@contextmanager
def _states(model: LatentModel, batch: Batch, slot_BS: Tensor) -> Iterator[dict[str, list[States]]]:
    """Collect the states of a forward pass by depth: filled once it has run."""
    decoder = model.backbone.language_model
    masks = [slot_BS, *(torch.eq(batch["roles"], int(role)) for role in (Role.PROMPT, Role.IMAGE))]
    found: dict[str, list[States]] = {}

    def before(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        del module
        found["middle"] = _taken(inputs[0] if inputs else named["hidden_states"], masks)

    def after(module: Any, inputs: Any, output: Tensor) -> None:
        del module, inputs
        found["last"] = _taken(output, masks)

    layer = decoder.layers[len(decoder.layers) // 2]
    handles = [
        layer.register_forward_pre_hook(before, with_kwargs=True),
        decoder.norm.register_forward_hook(after),
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _taken(hidden_BSD: Tensor, masks: Sequence[Tensor]) -> list[States]:
    """States of each sample at its latents, and their means over prompt and image."""
    out = []
    for states_SD, *at in zip(hidden_BSD, *masks, strict=True):
        latents_KD, prompt_ND, image_ND = (states_SD[mask_S].float() for mask_S in at)
        image_D = image_ND.mean(0).cpu() if len(image_ND) else None
        out.append(States(latents_KD.cpu(), prompt_ND.mean(0).cpu(), image_D))
    return out
