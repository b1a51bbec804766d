"""Attention weights are the stock model's, and the masses and maps are sums of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentvr.attention import Role, Visibility, preset
from latentvr.attention.kernels import prepare
from latentvr.config.schema import ModelConfig, ReasonerConfig
from latentvr.data.collate import collate
from latentvr.data.encode import EncodedSample, Encoder
from latentvr.data.toy import Toy
from latentvr.errors import UserError
from latentvr.evaluation.attention import latent_to_image, read_attention, received
from latentvr.models.latent_model import LatentModel
from latentvr.models.load import load_model
from latentvr.models.tiny import FAMILIES
from latentvr.reasoners.direct.config import Config as Direct
from latentvr.reasoners.livr.config import Config

LATENTS = 5
TOY = Toy(["counting", "correspondence"], "train", 2, seed=0)
CAUSAL, BOTTLENECK = preset("causal"), preset("bottleneck")


def build(family: str, reasoner: ReasonerConfig | None = None) -> LatentModel:
    config = ModelConfig(path=family, dtype="float32")
    return load_model(config, reasoner or Config(latents=LATENTS), [CAUSAL, BOTTLENECK])


def encode(model: LatentModel) -> list[EncodedSample]:
    encoder = Encoder(
        model.processor, model.reasoner.layout, model.reasoner.tokens(), model.backbone.positions
    )
    return [encoder.encode(r, TOY.images(r)) for r in TOY.records]


def batch_of(model: LatentModel, samples: list[EncodedSample]) -> dict[str, Any]:
    return collate(samples, model.processor.tokenizer.pad_token_id)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest) -> LatentModel:
    return build(request.param)


@pytest.fixture(scope="module")
def batch(model: LatentModel) -> dict[str, Any]:
    return batch_of(model, encode(model))


def all_weights(model: LatentModel, batch: dict[str, Any], visibility: Visibility) -> list[Tensor]:
    kept: list[Tensor] = []
    with torch.no_grad():
        read_attention(model, batch, visibility, lambda _, weights: kept.append(weights))
    return kept


def count_hooks(model: LatentModel) -> list[int]:
    """Transformers may have hooks of its own on the layers."""
    return [len(layer.self_attn._forward_hooks) for layer in model.backbone.language_model.layers]


@pytest.mark.parametrize("visibility", [CAUSAL, BOTTLENECK], ids=lambda v: v.name)
def test_rows_sum_to_one_and_blocked_pairs_are_exactly_zero(
    model: LatentModel, batch: dict[str, Any], visibility: Visibility
) -> None:
    roles = batch["roles"]
    length = roles.shape[1]
    assert bool((roles == Role.PAD).any())
    for weights in all_weights(model, batch, visibility):
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        for b, q, k in np.ndindex(len(roles), length, length):
            query, key = Role(int(roles[b, q])), Role(int(roles[b, k]))
            if q != k and (k > q or not visibility.sees(query, key)):
                assert not weights[b, :, q, k].any(), (b, query, key)


def test_weights_are_those_that_the_stock_model_returns(model: LatentModel, batch: dict[str, Any]) -> None:
    ours = all_weights(model, batch, BOTTLENECK)
    stock, text = model.backbone.model, model.backbone.text_config
    before = text._attn_implementation
    stock.set_attn_implementation({"text_config": "eager"})
    features = model.features(batch)
    deep = {}
    if features is not None and len(features) > 1:
        visual = torch.eq(batch["input_ids"], model.image_token_id)
        deep = {"visual_pos_masks": visual, "deepstack_visual_embeds": list(features[1:])}
    with torch.no_grad():
        attend = prepare("mask", BOTTLENECK, batch["roles"], dtype=torch.float32, eager=True)
        theirs = model.backbone.language_model(
            inputs_embeds=model.embeds(batch, features, None),
            position_ids=model.backbone.rotary_positions(batch["position_ids"]),
            attention_mask=attend.attention_mask,
            output_attentions=True,
            use_cache=False,
            **deep,
        ).attentions
    stock.set_attn_implementation({"text_config": before})
    assert len(ours) == len(theirs) == model.backbone.text_config.num_hidden_layers
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


def answers(batch: dict[str, Any]) -> Tensor:
    return torch.eq(batch["roles"], int(Role.ANSWER))


def test_what_tokens_receive_is_the_mean_over_heads_layers_and_queries(
    model: LatentModel, batch: dict[str, Any]
) -> None:
    layers = all_weights(model, batch, BOTTLENECK)
    found = received(model, batch, BOTTLENECK, [answers(batch), torch.zeros_like(answers(batch))])
    for b, roles in enumerate(batch["roles"].tolist()):
        queries = [i for i, role in enumerate(roles) if role == Role.ANSWER]
        keys = [i for i, role in enumerate(roles) if role == Role.LATENT]
        assert len(keys) == LATENTS
        for key in keys:
            each = [
                float(weights[b, h, q, key])
                for weights in layers
                for h in range(weights.shape[1])
                for q in queries
            ]
            assert 0 < found[0][b, key] < 1
            assert float(found[0][b, key]) == pytest.approx(sum(each) / len(each), abs=1e-6)
        assert float(found[0][b].sum()) == pytest.approx(1, abs=1e-5)
    assert not found[1].any()


def test_what_tokens_receive_does_not_depend_on_batches_or_padding(
    model: LatentModel, batch: dict[str, Any]
) -> None:
    (together,) = received(model, batch, CAUSAL, [answers(batch)])
    for row, sample in zip(together, encode(model), strict=True):
        one = batch_of(model, [sample])
        (alone,) = received(model, one, CAUSAL, [answers(one)])
        torch.testing.assert_close(alone[0], row[: alone.shape[1]], atol=1e-6, rtol=0)


def test_maps_hold_the_weights_of_each_image(model: LatentModel, batch: dict[str, Any]) -> None:
    mean = torch.stack(all_weights(model, batch, CAUSAL)).mean((0, 2))
    maps = latent_to_image(model, batch, CAUSAL)
    assert [len(of_sample) for of_sample in maps] == [1, 1, 2, 2]
    for b, of_sample in enumerate(maps):
        latents = torch.eq(batch["roles"][b], int(Role.LATENT))
        visual = torch.eq(batch["roles"][b], int(Role.IMAGE))
        assert all(one.shape == (LATENTS, 4, 4) for one in of_sample)
        joined = np.concatenate([one.reshape(LATENTS, -1) for one in of_sample], 1)
        np.testing.assert_allclose(joined, mean[b][latents][:, visual].numpy(), atol=1e-6)


def test_maps_of_wide_images_keep_rows_and_columns_apart(model: LatentModel) -> None:
    record = TOY.records[0]
    encoder = Encoder(
        model.processor, model.reasoner.layout, model.reasoner.tokens(), model.backbone.positions
    )
    wide = TOY.images(record)[0].resize((96, 48))
    batch = batch_of(model, [encoder.encode(record, [wide])])
    assert latent_to_image(model, batch, CAUSAL)[0][0].shape == (LATENTS, 3, 6)


def test_latents_that_cannot_see_the_image_have_empty_maps(model: LatentModel, batch: dict[str, Any]) -> None:
    blind = Visibility("blind", frozenset({(Role.LATENT, Role.IMAGE)}))
    assert not any(one.any() for of_sample in latent_to_image(model, batch, blind) for one in of_sample)


def test_kernel_and_mode_are_as_before(model: LatentModel, batch: dict[str, Any]) -> None:
    model.train()
    model.backbone.vision_tower.eval()
    kernel = model.backbone.text_config._attn_implementation
    modes = [module.training for module in model.modules()]
    hooks = count_hooks(model)
    assert kernel != "eager"
    received(model, batch, CAUSAL, [answers(batch)])
    assert model.backbone.text_config._attn_implementation == kernel
    assert [module.training for module in model.modules()] == modes
    assert count_hooks(model) == hooks


def test_an_error_inside_leaves_the_model_as_before(model: LatentModel, batch: dict[str, Any]) -> None:
    kernel = model.backbone.text_config._attn_implementation
    hooks = count_hooks(model)

    def fail(layer: int, weights: Tensor) -> None:
        raise ZeroDivisionError(layer, weights.shape)

    with pytest.raises(ZeroDivisionError):
        read_attention(model, batch, CAUSAL, fail)
    assert model.backbone.text_config._attn_implementation == kernel
    assert count_hooks(model) == hooks


def test_copies_of_images_in_the_role_of_latents_are_queries_and_no_keys() -> None:
    model = build("tiny-qwen3-vl", Config(latents=LATENTS, image_twice=True))
    maps = latent_to_image(model, batch_of(model, encode(model)), CAUSAL)
    assert [[one.shape for one in of_sample] for of_sample in maps] == [[(16, 4, 4)]] * 2 + [
        [(32, 4, 4)] * 2
    ] * 2


def test_a_method_without_latents_has_empty_maps() -> None:
    model = build("tiny-qwen2.5-vl", Direct())
    batch = batch_of(model, encode(model))
    assert [one.shape for one in latent_to_image(model, batch, CAUSAL)[0]] == [(0, 4, 4)]


def test_chosen_layers_are_read_alone(model: LatentModel, batch: dict[str, Any]) -> None:
    kept: dict[int, Tensor] = {}
    with torch.no_grad():
        assert read_attention(model, batch, CAUSAL, kept.__setitem__, layers=[1]) == 1
    assert list(kept) == [1]
    assert torch.equal(kept[1], all_weights(model, batch, CAUSAL)[1])


def test_layers_that_are_not_there_are_refused(model: LatentModel, batch: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"expected numbers of layers from 0 to \d+, got \[-1, 99\]"):
        read_attention(model, batch, CAUSAL, print, layers=[99, 0, -1])
