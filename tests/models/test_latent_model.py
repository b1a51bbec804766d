"""The loss forward: logits where they are needed, latent ids out of the softmax, matrices as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.models.features import cache_features
from latentvr.models.latent_model import add_tokens
from latentvr.reasoners.base import Stage


def test_only_labelled_positions_reach_the_head(lab: Any, family: str) -> None:
    model = lab.model(family, "livr", latents=4)
    batch = lab.batch(model, list(lab.records.values()))
    shapes: list[tuple[int, ...]] = []

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        del module
        shapes.append(tuple(args[0].shape))

    model.base.lm_head.register_forward_pre_hook(note)
    model(batch, Stage("s", BOTTLENECK))
    assert shapes == [(int((batch["labels"] != -100).sum()), 128)]


def test_the_loss_sums_the_answers_log_probabilities(lab: Any, family: str) -> None:
    """Computed here from the full logits, one sample and one position at a time."""
    model = lab.model(family, "livr", latents=4)
    batch, stage = lab.batch(model, list(lab.records.values())), Stage("s", BOTTLENECK)
    with torch.no_grad():
        scores = model.logits(model.hidden(batch, model.features(batch), stage)).log_softmax(-1)
        total = float(model(batch, stage)["ce"].total)
    places = (batch["roles"] == Role.ANSWER).nonzero().tolist()
    wanted = -sum(float(scores[b, t - 1, batch["input_ids"][b, t]]) for b, t in places)
    assert total == pytest.approx(wanted, abs=1e-3)
    samples = lab.encode(model, list(lab.records.values()))
    assert len(places) == sum(int((s.labels != -100).sum()) for s in samples)


def test_latent_and_image_ids_have_no_share_of_the_softmax(lab: Any, family: str) -> None:
    model = lab.model(family, "livr", latents=4)
    share = model.logits(torch.randn(2, 128)).softmax(-1)
    tokenizer = model.processor.tokenizer
    texts = ["<|image_pad|>", "<|video_pad|>", *(f"<|latent_{i}|>" for i in range(4))]
    assert float(share[:, tokenizer.convert_tokens_to_ids(texts)].abs().max()) == 0.0
    assert int((share[0] == 0.0).sum()) == len(texts)


def test_spare_rows_are_used_and_the_matrix_keeps_its_size(lab: Any, family: str) -> None:
    model = lab.model(family, "livr", latents=16)
    stock = lab.stock(family)[0]
    assert model.backbone.embedding_weight.shape == stock.get_input_embeddings().weight.shape
    assert torch.equal(model.backbone.embedding_weight, stock.get_input_embeddings().weight)
    assert max(model.rows.get_buffer("ids").tolist()) < model.backbone.embedding_weight.shape[0]


def test_the_matrix_grows_only_where_no_row_is_spare(lab: Any, family: str) -> None:
    model = lab.model(family)
    matrix = model.backbone.embedding_weight.clone()
    spare = matrix.shape[0] - len(model.processor.tokenizer)
    ids = add_tokens(model.backbone, model.processor, [f"<|new_{i}|>" for i in range(spare + 3)])
    assert ids == list(range(len(matrix) - spare, len(matrix) + 3))
    assert model.backbone.embedding_weight.shape[0] == len(matrix) + 3
    assert torch.equal(model.backbone.embedding_weight[: len(matrix)], matrix)
    assert model.base.lm_head.weight is model.backbone.embedding_weight
    assert model.base.config.get_text_config().vocab_size == len(matrix) + 3


def test_tokens_that_are_there_already_keep_their_ids(lab: Any, family: str) -> None:
    model = lab.model(family, "livr", latents=4)
    ids = model.rows.get_buffer("ids").tolist()
    assert add_tokens(model.backbone, model.processor, [f"<|latent_{i}|>" for i in range(4)]) == ids


@torch.no_grad()
def test_cached_features_are_the_towers_own(lab: Any, family: str) -> None:
    """Encoding images of several samples at once gives each one's own features, deepstack levels included."""
    from latentvr.data.collate import collate

    model = lab.model(family)
    samples = lab.encode(model, list(lab.records.values()))
    batch, stage = collate(samples, 0), Stage("s", CAUSAL)
    alone = [model.backbone.encode_images(s.pixel_values, s.grid) for s in samples]
    before = model.hidden(batch, model.features(batch), stage)
    cache_features(model, samples, patches_at_once=130)
    assert [s.pixel_values for s in samples] == [None] * 4
    for sample, features in zip(samples, alone, strict=True):
        assert sample.features.shape == features.shape
        assert torch.allclose(sample.features, features, atol=1e-5)
    cached = collate(samples, 0)
    assert "pixel_values" not in cached
    assert torch.allclose(model.hidden(cached, model.features(cached), stage), before, atol=1e-5)
