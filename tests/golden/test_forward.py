"""The training forward, quantity by quantity: what is encoded, fed, computed and scored."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.attention.visibility import CAUSAL
from latentvr.reasoners.base import Stage

STAGE = Stage("sft", CAUSAL)
KERNELS = pytest.mark.parametrize("kernel", ["mask", "two_pass"])


def _layout(file: str) -> str:
    """The layout in `sft/sample_A_0.npz` and `sft/batch_A.npz`."""
    return file.removesuffix(".npz").split("_")[1]


@KERNELS
@torch.no_grad()
def test_a_sample_is_fed_and_seen_alike(
    golden: Any, models: Any, agree: Any, sample_file: str, kernel: str
) -> None:
    wanted = golden.arrays(sample_file)
    model, batch = models.load("model", kernel, layout=_layout(sample_file)), golden.batch(wanted)
    features = model.features(batch)
    agree("visual features", features[0], wanted["visual_features"])
    agree("region embeddings", features[0][batch["slots"][:, 1]], wanted["gt_visual_embeds"])
    slots = model.reasoner.slot_inputs(batch, features, STAGE)
    agree("inputs as fed", model.embeds(batch, features, slots), wanted["inputs_embeds"])
    hidden = model.hidden(batch, features, STAGE)
    agree("hidden states", hidden, wanted["last_hidden_state"])
    agree("hidden states", hidden[0, wanted["lvr_positions"] - 1], wanted["pred_hidden"], "before the slots")
    agree("logits", model.logits(hidden, suppress=False), wanted["logits"])


@KERNELS
@torch.no_grad()
def test_a_padded_batch_gives_the_same_states(
    golden: Any, models: Any, agree: Any, batch_file: str, kernel: str
) -> None:
    """Rows of several lengths: padding that is seen, or slots of another row, would move them."""
    wanted = golden.arrays(batch_file)
    model, batch = models.load("model", kernel, layout=_layout(batch_file)), golden.batch(wanted)
    hidden = model.hidden(batch, model.features(batch), STAGE)
    there = wanted["attention_mask"].astype(bool)
    agree("hidden states", hidden[torch.from_numpy(there)], wanted["last_hidden_state"][there])


def _check_positions(golden: Any, model: Any, agree: Any, file: str) -> None:
    wanted = golden.arrays(file)
    grids = list(torch.from_numpy(wanted["image_grid_thw"]))
    for row, (ids, mask) in enumerate(zip(wanted["input_ids"], wanted["attention_mask"], strict=True)):
        alone = torch.from_numpy(ids[mask.astype(bool)])[None]
        images = int((alone == golden.token("<|vision_start|>")).sum())
        grid = torch.stack([grids.pop(0) for _ in range(images)]) if images else None
        found = model.backbone.positions(alone, alone == model.image_token_id, grid)
        agree("positions", found[:, 0], wanted["position_ids"][:, row][:, mask.astype(bool)], f"row {row}")


def test_positions_of_a_sample(golden: Any, models: Any, agree: Any, sample_file: str) -> None:
    _check_positions(golden, models.load("model"), agree, sample_file)


def test_positions_of_a_batch(golden: Any, models: Any, agree: Any, batch_file: str) -> None:
    _check_positions(golden, models.load("model"), agree, batch_file)
