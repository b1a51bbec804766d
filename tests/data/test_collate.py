"""Padding on either side and images of many samples in one tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.data.collate import collate
from latentvr.data.encode import IGNORED, EncodedSample


def _sample(length: int, images: int, name: str = "x") -> EncodedSample:
    """A sample of `length` tokens numbered from 1, with 4 patches per image."""
    ids = torch.arange(1, length + 1)
    roles = torch.full((length,), int(Role.PROMPT), dtype=torch.int8)
    patches = torch.full((4 * images, 5), float(length)) if images else None
    grid = torch.tensor([[1, 2, 2]] * images).reshape(-1, 3)
    return EncodedSample(name, ids, roles, ids.clone(), ids.expand(3, -1).clone(), length, patches, grid)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding(side: Any) -> None:
    batch = collate([_sample(3, 1, "a"), _sample(5, 2, "b")], pad_id=99, side=side)
    pad, kept = (slice(3, 5), slice(0, 3)) if side == "right" else (slice(0, 2), slice(2, 5))
    assert batch["sample_ids"] == ["a", "b"]
    assert batch["input_ids"][0, kept].tolist() == [1, 2, 3]
    assert batch["input_ids"][0, pad].tolist() == [99, 99]
    assert batch["labels"][0, pad].tolist() == [IGNORED, IGNORED]
    assert batch["roles"][0, pad].tolist() == [Role.PAD, Role.PAD]
    assert batch["roles"].dtype is torch.int8
    assert batch["position_ids"].shape == (3, 2, 5)
    assert batch["position_ids"][:, 0, pad].tolist() == [[0, 0]] * 3
    assert batch["position_ids"][:, 0, kept].tolist() == [[1, 2, 3]] * 3
    assert batch["input_ids"][1].tolist() == [1, 2, 3, 4, 5]


def test_images_keep_the_order_of_the_samples() -> None:
    batch = collate([_sample(3, 1), _sample(4, 0), _sample(5, 2)], 0)
    assert batch["pixel_values"][:, 0].tolist() == [3.0] * 4 + [5.0] * 8
    assert batch["image_grid_thw"].shape == (3, 3)
    assert "features" not in batch


def test_cached_features_take_the_place_of_patches() -> None:
    samples = [_sample(3, 1), _sample(4, 0), _sample(5, 2)]
    for sample in samples:
        count = len(sample.grid)
        sample.features = torch.full((2, count, 6), float(len(sample.ids))) if count else None
        sample.pixel_values = None
    batch = collate(samples, 0)
    assert "pixel_values" not in batch
    assert batch["features"].shape == (2, 3, 6)
    assert batch["features"][0, :, 0].tolist() == [3.0, 5.0, 5.0]


def test_a_batch_with_patches_and_features_is_refused() -> None:
    """Joined silently, one sample's features would stand at another's image."""
    samples = [_sample(3, 1, "a"), _sample(5, 1, "b")]
    samples[1].features, samples[1].pixel_values = torch.zeros(1, 1, 6), None
    with pytest.raises(ValueError, match="some samples have cached features and others patches: a"):
        collate(samples, 0)


def test_a_batch_without_images_has_no_image_keys() -> None:
    batch = collate([_sample(3, 0), _sample(4, 0)], 0)
    assert {"pixel_values", "features", "image_grid_thw"} & set(batch) == set()


def test_samples_are_not_changed() -> None:
    sample = _sample(3, 1)
    collate([sample, _sample(9, 1)], 0, "left")
    assert sample.ids.tolist() == [1, 2, 3]
    assert sample.positions.shape == (3, 3)


def test_rows_of_samples_lie_end_to_end() -> None:
    batch = collate([[_sample(3, 1, "a"), _sample(2, 0, "b")], [_sample(4, 2, "c")]], pad_id=99)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 1, 2], [1, 2, 3, 4, 99]]
    assert batch["position_ids"][2].tolist() == [[1, 2, 3, 1, 2], [1, 2, 3, 4, 0]]
    assert batch["documents"].tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, -1]]
    assert batch["roles"][1].tolist() == [Role.PROMPT] * 4 + [Role.PAD]
    assert batch["labels"][1, 4] == IGNORED
    assert batch["sample_ids"] == ["a", "b", "c"]
    assert batch["pixel_values"][:, 0].tolist() == [3.0] * 4 + [4.0] * 8
    assert "documents" not in collate([_sample(3, 1)], 0)


def test_slots_of_packed_samples_count_through_the_batch() -> None:
    samples = [_sample(3, 1), _sample(2, 1), _sample(4, 1)]
    for sample in samples:
        sample.visual_tokens, sample.slots = 1, torch.tensor([[0, 0], [1, 0]])
    packed = collate([samples[:2], samples[2:]], 0)["slots"].tolist()
    assert packed == collate(samples, 0)["slots"].tolist() == [[i, i // 2] for i in range(6)]
