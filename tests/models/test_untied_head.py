"""Heads with a matrix of their own: token rows go into the embedding, written ones into the head too."""

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
from latentvr.errors import CheckpointError
from latentvr.models.trainable import set_trainable
from latentvr.models.weights import ADAPTER, load_weights, save_weights
from latentvr.reasoners.base import Stage

METHODS: list[tuple[str, dict[str, Any]]] = [("livr", {"latents": 4, "init_std": 1.0}), ("lvr", {})]


@torch.no_grad()
def _logits(lab: Any, model: Any) -> Tensor:
    """Without slots in the answer, whose markers stay."""
    batch = lab.batch(model, [lab.records["one image"]], drop=model.reasoner.span() is not None)
    return model.logits(model.hidden(batch, model.features(batch), Stage("s", CAUSAL)))


@torch.no_grad()
def _stock_logits(lab: Any, model: Any, stock: Any) -> Tensor:
    batch = lab.batch(model, [lab.records["one image"]], drop=model.reasoner.span() is not None)
    logits = stock(
        input_ids=batch["input_ids"],
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
    ).logits
    return logits.index_fill(-1, model.get_buffer("excluded"), float("-inf"))


def _train(lab: Any, model: Any, kind: Any) -> None:
    """One step, large enough to see."""
    set_trainable(model, kind, LoraConfig(r=4, dropout=0.0))
    terms = model(lab.batch(model, [lab.records["one image"]]), Stage("s", CAUSAL))
    torch.stack([term.total * term.weight for term in terms.values()]).sum().backward()
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2).step()
    model.eval()


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("untied", [False, True], ids=["tied", "untied"])
@pytest.mark.parametrize(("name", "options"), METHODS, ids=["prompt", "written"])
@pytest.mark.parametrize("kind", ["lora", "tokens"])
def test_peft_answers_as_the_model_does(
    lab: Any, family: str, kind: Any, name: str, options: dict[str, Any], untied: bool, tmp_path: Path
) -> None:
    """Where the method's tokens are written, their logits are those of rows that trained."""
    model = lab.model(family, name, untied=untied, **options)
    start = _logits(lab, model)
    _train(lab, model, kind)
    save_weights(model, tmp_path, lab.settings(family))
    if untied:
        heads = [key for key in load_file(tmp_path / ADAPTER) if "lm_head" in key]
        assert len(heads) == (name == "lvr")
    ours = _logits(lab, model)
    stock = lab.stock(family, untied)[0].eval()
    theirs = _stock_logits(lab, model, PeftModel.from_pretrained(stock, tmp_path).eval())
    finite = torch.isfinite(ours)
    assert torch.equal(finite, torch.isfinite(theirs))
    assert float((ours[finite] - theirs[finite]).abs().max()) < 1e-5
    written = [model.token_ids[token.text] for token in model.reasoner.tokens() if token.sampled]
    assert bool(written) is (name == "lvr")
    assert not written or float((ours - start)[..., written].abs().min(-1).values.max()) > 1e-2
    fresh = lab.model(family, name, untied=untied, **options)
    fresh.rows.rows.data.zero_()
    assert not torch.equal(_logits(lab, fresh), ours)
    load_weights(fresh, tmp_path)
    assert torch.equal(_logits(lab, fresh.eval()), ours)


@pytest.mark.parametrize("kind", ["lora", "language", "all", "tokens"])
def test_rows_of_the_head_train_and_nothing_else_of_it(lab: Any, family: str, kind: Any) -> None:
    model = lab.model(family, "lvr", untied=True)
    head, rows = model.base.lm_head.weight.detach().clone(), model.rows.head_rows.detach().clone()
    _train(lab, model, kind)
    assert bool((model.rows.head_rows != rows).any(1).all())
    moved = not torch.equal(model.backbone.untied_head, head)
    assert moved is (kind in ("language", "all"))


@pytest.mark.parametrize(("name", "options"), METHODS, ids=["prompt", "written"])
def test_a_whole_language_model_keeps_both_matrices(
    lab: Any, family: str, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = lab.model(family, name, untied=True, **options)
    _train(lab, model, "language")
    save_weights(model, tmp_path, lab.settings(family))
    names = [name.rpartition(".")[0] for name in load_file(tmp_path / "model.safetensors")]
    assert "lm_head" in names
    assert sum(name.endswith("embed_tokens") for name in names) == 1
    loaded = type(model.base).from_pretrained(tmp_path).eval()
    ours, theirs = _logits(lab, model), _stock_logits(lab, model, loaded)
    finite = torch.isfinite(ours)
    assert float((ours[finite] - theirs[finite]).abs().max()) < 1e-5
    fresh = lab.model(family, name, untied=True, **options)
    load_weights(fresh, tmp_path)
    assert torch.equal(_logits(lab, fresh.eval()), ours)


def test_a_checkpoint_of_a_tied_head_does_not_fit_an_untied_one(
    lab: Any, family: str, tmp_path: Path
) -> None:
    """Breaks if the head's rows stay as they were without a word."""
    model = lab.model(family, "lvr")
    set_trainable(model, "lora", LoraConfig(r=4))
    save_weights(model, tmp_path, lab.settings(family))
    with pytest.raises(CheckpointError, match=r"expected head rows of shape \(2, 128\), got None"):
        load_weights(lab.model(family, "lvr", untied=True), tmp_path)
