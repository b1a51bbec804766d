"""Models whose head has a matrix of its own: token rows go into the embedding alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import LoraConfig
from latentvr.models.load import attach
from latentvr.models.trainable import set_trainable
from latentvr.models.weights import ADAPTER, load_weights, save_weights
from latentvr.reasoners.base import Stage
from latentvr.reasoners.livr.config import Config


def _model(lab: Any, family: str) -> tuple[Any, Any]:
    """The method on a model with a head of its own, and the stock model alone; always the same weights."""
    models = []
    for _ in range(2):
        stock, processor = lab.stock(family)
        config = stock.config
        config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
        untied = type(stock)(config)
        untied.load_state_dict(stock.state_dict())
        with torch.no_grad():
            untied.lm_head.weight.copy_(untied.lm_head.weight.flip(0))
        models.append(untied.eval())
    settings = Config(latents=4, init_std=1.0)
    return attach(models[0], processor, lab.settings(family), settings, [CAUSAL], 3).eval(), models[1]


@torch.no_grad()
def _logits(lab: Any, model: Any) -> Tensor:
    batch = lab.batch(model, [lab.records["one image"]])
    return model.logits(model.hidden(batch, model.features(batch), Stage("s", CAUSAL)))


@torch.no_grad()
def _stock_logits(lab: Any, model: Any, stock: Any) -> Tensor:
    batch = lab.batch(model, [lab.records["one image"]])
    logits = stock(
        input_ids=batch["input_ids"],
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
    ).logits
    return logits.index_fill(-1, model.get_buffer("excluded"), float("-inf"))


@pytest.mark.parametrize("kind", ["lora", "tokens"])
def test_rows_are_written_for_the_embedding_alone(lab: Any, family: str, kind: Any, tmp_path: Path) -> None:
    model, stock = _model(lab, family)
    set_trainable(model, kind, LoraConfig(r=4))
    save_weights(model, tmp_path, lab.settings(family))
    assert [name for name in load_file(tmp_path / ADAPTER) if "lm_head" in name] == []
    ours = _logits(lab, model)
    finite = torch.isfinite(ours)
    theirs = _stock_logits(lab, model, PeftModel.from_pretrained(stock, tmp_path).eval())
    assert float((ours[finite] - theirs[finite]).abs().max()) < 1e-5
    fresh, _ = _model(lab, family)
    fresh.rows.rows.data.zero_()
    assert not torch.equal(_logits(lab, fresh), ours)
    load_weights(fresh, tmp_path)
    assert torch.equal(_logits(lab, fresh.eval()), ours)


def test_a_whole_language_model_keeps_both_matrices(lab: Any, family: str, tmp_path: Path) -> None:
    model, stock = _model(lab, family)
    set_trainable(model, "language", LoraConfig())
    save_weights(model, tmp_path, lab.settings(family))
    names = [name.rpartition(".")[0] for name in load_file(tmp_path / "model.safetensors")]
    assert "lm_head" in names
    assert sum(name.endswith("embed_tokens") for name in names) == 1
    loaded = type(stock).from_pretrained(tmp_path).eval()
    ours, theirs = _logits(lab, model), _stock_logits(lab, model, loaded)
    finite = torch.isfinite(ours)
    assert float((ours[finite] - theirs[finite]).abs().max()) < 1e-5
