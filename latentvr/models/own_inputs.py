"""What a model predicts at latent slots when it is fed its own predictions, for training on them.

Teacher forcing shows a model true latents that it will not have at test. Here the slots of some samples are
filled one after another from the model's own hidden states, with everything else as given; no gradient flows
through that. Training on them is scheduled sampling; it is not in the LVR paper.

Shape letters: B batch, S sequence, N visual tokens, D width, F feature levels, L latent positions, R rows
with predicted slots, W their columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from latentvr.attention.kernels import AttentionInputs
from latentvr.attention.mask import decode_mask
from latentvr.attention.roles import Role
from latentvr.models.unpacked import unpacked

if TYPE_CHECKING:
    from latentvr.models.latent_model import LatentModel
    from latentvr.reasoners.base import Batch, Stage


def own_inputs(
    model: LatentModel,
    batch: Batch,
    features_FND: Tensor | None,
    stage: Stage,
    teacher_LD: Tensor,
    share: float,
) -> Tensor:
    """Replace the inputs of slots by predictions, in a share of the samples.

    Args:
        model: its adapters and dropout as they are in training.
        batch: with answers, padded on either side, or packed.
        features_FND: from `LatentModel.features`.
        stage: gives the visibility.
        teacher_LD: what the reasoner feeds.
        share: probability that a sample gets its own predictions.

    Returns:
        (L, D) in row-major order.
    """
    span = model.reasoner.span()
    if span is None:
        return teacher_LD
    if "documents" in batch:
        batch = unpacked(batch)
    latent_BS = model.slot_mask(batch)
    slot_BS = latent_BS & torch.eq(batch["input_ids"], model.token_ids[span.slot])
    slot_BS &= (torch.rand(len(slot_BS), 1) < share).to(slot_BS.device)
    if not bool(slot_BS.any()):
        return teacher_LD
    trained = model.training
    model.eval()  # recomputed activations have no cache; dropout has no place in a prediction
    try:
        with torch.no_grad():
            inputs_BSD = model.embeds(batch, features_FND, teacher_LD)
            _fill(model, _Walk.of(model, batch, slot_BS, inputs_BSD), features_FND, stage, inputs_BSD)
    finally:
        model.train(trained)
    own_LD = inputs_BSD[latent_BS].to(teacher_LD.dtype)
    return torch.where(slot_BS[latent_BS].unsqueeze(-1), own_LD, teacher_LD)


@dataclass
class _Walk:
    """The rows with predicted slots, shifted so that their first slots stand in one column.

    Attributes:
        rows: numbers of these rows in the batch (R,).
        source: column of the batch behind each column here (R, W), clamped to the batch.
        roles: `Role` values, PAD where a row has no such column (R, W).
        slots: columns to predict (R, W).
        positions: rotary positions (3, R, W).
        images: visual tokens in the columns before the first slots (R, first).
        visual: which visual tokens of the batch belong to these rows (N,).
        first: column of the first slots.
    """

    rows: Tensor
    source: Tensor
    roles: Tensor
    slots: Tensor
    positions: Tensor
    images: Tensor
    visual: Tensor
    first: int

    @classmethod
    def of(cls, model: LatentModel, batch: Batch, slot_BS: Tensor, inputs_BSD: Tensor) -> _Walk:
        """Shift the rows of a batch."""
        length, device = slot_BS.shape[1], inputs_BSD.device
        rows = slot_BS.any(1).nonzero().flatten()
        slots = slot_BS[rows]
        begin = slots.int().argmax(1)
        end = length - slots.flip(1).int().argmax(1)
        first = int(begin.max())
        shift = (first - begin).unsqueeze(1)
        width = int((end + shift[:, 0]).max())
        source = torch.arange(width, device=device) - shift
        outside = (source < 0) | (source >= length)
        source = source.clamp(0, length - 1)
        image_BS = torch.eq(batch["input_ids"], model.image_token_id)
        owner = image_BS.nonzero()[:, 0]
        return cls(
            rows=rows,
            source=source,
            roles=batch["roles"][rows].gather(1, source).masked_fill(outside, int(Role.PAD)),
            slots=slots.gather(1, source) & ~outside,
            positions=batch["position_ids"][:, rows].gather(2, source.expand(3, -1, -1)),
            images=(image_BS[rows].gather(1, source) & ~outside)[:, :first],
            visual=torch.isin(owner, rows),
            first=first,
        )


def _fill(
    model: LatentModel, walk: _Walk, features_FND: Tensor | None, stage: Stage, inputs_BSD: Tensor
) -> None:
    """Write predictions over the inputs of the slots, column by column, from one prefill."""
    backbone, first = model.backbone, walk.first
    fed_RWD = inputs_BSD[walk.rows].gather(1, walk.source.unsqueeze(-1).expand(-1, -1, inputs_BSD.shape[-1]))
    seen_FND = None if features_FND is None else features_FND[:, : len(walk.visual)][:, walk.visual]
    cache = DynamicCache(config=backbone.text_config)
    attend = model.attend({"roles": walk.roles[:, :first]}, stage.visibility)
    before, positions = fed_RWD[:, :first], walk.positions
    hidden = backbone.decode(before, positions[..., :first], attend, seen_FND, walk.images, cache)[:, -1:]
    for column in range(first, walk.slots.shape[1]):
        made = model.reasoner.latent_inputs(hidden).to(fed_RWD.dtype)
        now = slice(column, column + 1)
        inputs = torch.where(walk.slots[:, now].unsqueeze(-1), made, fed_RWD[:, now])
        fed_RWD[:, now] = inputs
        mask = decode_mask(stage.visibility, walk.roles[:, : column + 1], walk.roles[:, column])
        hidden = backbone.decode(inputs, positions[..., now], AttentionInputs(mask), cache=cache)
    row, column_in = walk.slots.nonzero(as_tuple=True)
    inputs_BSD[walk.rows[row], walk.source[row, column_in]] = fed_RWD[row, column_in]
