"""The RICE tower: an image's features are its own, whatever stands beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentvr.models.llava_onevision1_5.vision import _places


@torch.no_grad()
def test_images_in_a_batch_are_as_alone(pictures: Any) -> None:
    # Breaks if class tokens of the second and later images are stripped at the wrong places, as in the
    # released code.
    tower = pictures.model.model
    together = tower.get_image_features(pictures.pixel_values, pictures.grid).pooler_output
    assert [len(part) for part in together] == [16, 24, 8]
    for i, part in enumerate(together):
        (alone,) = tower.get_image_features(**pictures.patches([i])).pooler_output
        assert float((part - alone).abs().max()) < 1e-6
        assert float(alone.std()) > 0.1


@torch.no_grad()
def test_each_frame_has_a_class_token_of_its_own(pictures: Any) -> None:
    tower, patches = pictures.model.model, pictures.patches([0])
    one = tower.get_image_features(**patches).pooler_output[0]
    twice = torch.cat([patches["pixel_values"]] * 2)
    (frames,) = tower.get_image_features(twice, torch.tensor([[2, 8, 8]])).pooler_output
    assert torch.allclose(frames, torch.cat([one, one]), atol=1e-6)
    tower.visual.class_embedding.add_(torch.randn(96, generator=torch.Generator().manual_seed(0)))
    assert float((tower.get_image_features(**patches).pooler_output[0] - one).abs().max()) > 1e-3


def test_patches_are_placed_block_by_block() -> None:
    # Breaks if rows and columns are swapped, or patches are taken row by row.
    first, second = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert _places(2, 4, 2, torch.device("cpu")).tolist() == first + second
    assert _places(4, 2, 2, torch.device("cpu")).tolist() == first + [[r + 2, c] for r, c in first]


def test_angles_of_a_patch_tell_its_row_and_column(pictures: Any) -> None:
    tower = pictures.model.model.visual
    angles = tower._angles([(2, 4)])
    steps = 10000.0 ** -(torch.arange(0, 12, 2) / 12)
    assert torch.equal(angles[:1], tower.class_pos_emb)
    assert torch.allclose(angles[1 + 6], torch.cat([1 * steps, 2 * steps]))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_whole_tower(pictures: Any, checkpointing: bool) -> None:
    # Breaks if a parameter is left out, or if recomputing goes through other random numbers or none.
    model, grads = pictures.model, []
    for recomputed in (False, checkpointing):
        if recomputed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train().zero_grad()
        assert model.model.visual.blocks[0].gradient_checkpointing is recomputed
        out = model.model.get_image_features(pictures.pixel_values, pictures.grid).pooler_output
        torch.cat(out).square().sum().backward()
        grads.append({name: p.grad.clone() for name, p in model.model.visual.named_parameters()})
    assert all(bool(grad.any()) for grad in grads[0].values())
    assert all(torch.allclose(grads[1][name], grad, rtol=1e-4, atol=1e-5) for name, grad in grads[0].items())
    assert {name.split(".")[0] for name in grads[0]} == {
        "patch_embed", "class_embedding", "class_pos_emb", "pre_layernorm", "blocks", "merger",
    }  # fmt: skip


@torch.no_grad()
def test_eager_attention_and_half_precision_are_near(pictures: Any) -> None:
    model = pictures.model
    wanted = torch.cat(model.model.get_image_features(pictures.pixel_values, pictures.grid).pooler_output)
    model.set_attn_implementation({"vision_config": "eager"})
    assert model.config.vision_config._attn_implementation == "eager"
    eager = torch.cat(model.model.get_image_features(pictures.pixel_values, pictures.grid).pooler_output)
    assert torch.allclose(eager, wanted, atol=1e-5)
    half = model.bfloat16().model.get_image_features(pictures.pixel_values, pictures.grid).pooler_output
    assert torch.cat(half).dtype == torch.bfloat16
    assert float((torch.cat(half) - wanted).norm() / wanted.norm()) < 0.03
