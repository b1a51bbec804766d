"""The families' parts behind one face: features, positions and the head are those of the stock model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.errors import ModelError
from latentvr.models.load import family as family_of


@torch.no_grad()
def test_levels_of_features(lab: Any, family: str) -> None:
    model = lab.model(family)
    sample = lab.encode(model, [lab.records["two images"]])[0]
    features = model.backbone.encode_images(sample.pixel_values, sample.grid)
    levels = {"tiny-qwen2.5-vl": 1, "tiny-qwen3-vl": 3, "tiny-llava-ov-1.5": 1}[family]
    assert features.shape == (levels, 2 * 16, 128)
    assert model.backbone.width == 128


@torch.no_grad()
def test_deepstack_levels_reach_the_decoder(lab: Any) -> None:
    """Each level above 0 changes the hidden states; dropping one silently would not be seen elsewhere."""
    from latentvr.attention.visibility import CAUSAL
    from latentvr.reasoners.base import Stage

    model = lab.model("tiny-qwen3-vl")
    batch = lab.batch(model, [lab.records["one image"]])
    features = model.features(batch)
    full = model.hidden(batch, features, Stage("s", CAUSAL))
    for level in (1, 2):
        less = features.clone()
        less[level] = 0
        assert float((model.hidden(batch, less, Stage("s", CAUSAL)) - full).abs().max()) > 1e-3


@pytest.mark.parametrize("family", ["tiny-qwen2.5-vl", "tiny-qwen3-vl"])
def test_positions_of_an_image_are_a_grid(lab: Any, family: str) -> None:
    """4 x 4 visual tokens: rows on the second axis, columns on the third, text counts on from the largest."""
    model = lab.model(family)
    sample = lab.encode(model, [lab.records["one image"]])[0]
    image = (sample.ids == model.image_token_id).nonzero().flatten()
    grid = sample.positions[:, image] - sample.positions[:, image[:1]]
    assert grid[1].tolist() == [i // 4 for i in range(16)]
    assert grid[2].tolist() == [i % 4 for i in range(16)]
    after = sample.positions[:, int(image[-1]) + 1]
    assert after.tolist() == [int(sample.positions[:, image].max()) + 1] * 3


def test_positions_with_one_axis_count_all_tokens(lab: Any) -> None:
    """Three equal rows, as batches of all families have them; the decoder gets one."""
    model = lab.model("tiny-llava-ov-1.5")
    sample = lab.encode(model, [lab.records["interleaved"]])[0]
    assert sample.positions.tolist() == [list(range(len(sample.ids)))] * 3
    one_row = model.backbone.rotary_positions(sample.positions[:, None])
    assert one_row.tolist() == [list(range(len(sample.ids)))]


def test_a_family_without_an_adapter_is_refused() -> None:
    with pytest.raises(ModelError) as error:
        family_of("llama", "some/model")
    assert str(error.value) == (
        "expected a model type of qwen2_5_vl, qwen3_vl, llavaonevision1_5, got 'llama', at 'some/model'; "
        "fix: use a model of these families"
    )
