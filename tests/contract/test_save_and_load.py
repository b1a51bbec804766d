"""Points 9 and 11: what is saved answers the same when loaded, here and in plain PEFT and transformers.

Breaks when: token rows are left out of a checkpoint, adapters are saved under other names, a tied head
differs, or an option of the method is lost on the way through the card.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL
from latentvr.config.schema import DecodeConfig, LoraConfig
from latentvr.decoding.loop import generate
from latentvr.models.trainable import set_trainable
from latentvr.models.weights import load_weights, read_card, save_weights
from latentvr.reasoners import registry
from latentvr.reasoners.base import LatentReasoner, Stage
from latentvr.runs.inference import load_checkpoint
from latentvr.trainers import checkpoint

LORA = LoraConfig(r=4, alpha=8, dropout=0.0)


def _trained(lab: Any, case: Any, kind: Any) -> Any:
    """A model that took two steps, large enough to see."""
    model = case.model(lab)
    set_trainable(model, kind, LORA)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-2)
    for _ in range(2):
        terms = model(lab.batch(model, [lab.records["one image"]]), Stage("s", BOTTLENECK))
        torch.stack([term.total * term.weight for term in terms.values()]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def _written(lab: Any, model: Any) -> list[Any]:
    """Answers; half of them begin inside a latent span where the method has spans."""
    span = model.reasoner.span()
    prompts = lab.prompts(model, list(lab.records.values()), ("", "" if span is None else span.start))
    decode = DecodeConfig(max_new_tokens=5, latent_steps=2)
    return generate(model, lab.collated(prompts), Stage("s", CAUSAL), decode)


@torch.no_grad()
def _answer_logits(lab: Any, model: Any, drop: bool = False) -> Tensor:
    batch = lab.batch(model, [lab.records["two images"]], drop=drop)
    hidden = model.hidden(batch, model.features(batch), Stage("s", CAUSAL))
    return model.logits(hidden)[batch["roles"] == Role.ANSWER]


@torch.no_grad()
def _stock_logits(lab: Any, model: Any, stock: Any, drop: bool = False) -> Tensor:
    """The same by transformers alone, latent ids excluded."""
    batch = lab.batch(model, [lab.records["two images"]], drop=drop)
    logits = stock.eval()(
        input_ids=batch["input_ids"],
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        mm_token_type_ids=(batch["input_ids"] == model.image_token_id).int(),
    ).logits
    return logits.index_fill(-1, model.get_buffer("excluded"), float("-inf"))[batch["roles"] == Role.ANSWER]


def test_a_loaded_model_writes_the_same(lab: Any, case_and_kind: Any, tmp_path: Path) -> None:
    case, kind = case_and_kind
    model = _trained(lab, case, kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_weights(model, tmp_path, lab.settings(case.family))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert read_card(tmp_path)["weights"] == ("language" if kind == "all" else kind)
    fresh = case.model(lab)
    assert not torch.equal(_answer_logits(lab, model), _answer_logits(lab, fresh))
    load_weights(fresh, tmp_path)
    for one, other in zip(_written(lab, fresh), _written(lab, model), strict=True):
        assert one.ids == other.ids
        assert one.log_probs == other.log_probs
        assert torch.equal(one.prompt_latents, other.prompt_latents)
        assert torch.equal(one.fed, other.fed)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_plain_transformers_and_peft_answer_the_same(lab: Any, case_and_kind: Any, tmp_path: Path) -> None:
    """With plain causal attention a checkpoint needs nothing of this library."""
    case, kind = case_and_kind
    model = _trained(lab, case, kind)
    feeds = type(model.reasoner).slot_inputs is not LatentReasoner.slot_inputs
    if feeds and model.reasoner.span() is None:
        pytest.skip("the method feeds its slots itself")
    save_weights(model, tmp_path, lab.settings(case.family))
    stock = lab.stock(case.family)[0]
    if kind in ("language", "all"):
        stock = type(stock).from_pretrained(tmp_path)
    else:
        stock = PeftModel.from_pretrained(stock, tmp_path)
    # Slots are left out where the method feeds them: their markers are ordinary tokens.
    ours, theirs = _answer_logits(lab, model, feeds), _stock_logits(lab, model, stock, feeds)
    finite = torch.isfinite(ours)
    assert torch.equal(finite, torch.isfinite(theirs))
    assert float((ours[finite] - theirs[finite]).abs().max()) < 1e-5


def test_the_folder_alone_brings_back_method_and_options(lab: Any, case: Any, tmp_path: Path) -> None:
    model = _trained(lab, case, "lora")
    stock, processor = lab.stock(case.family)
    stock.save_pretrained(tmp_path / "stock")
    processor.save(tmp_path / "stock")
    partial = tmp_path / "step-2.partial"

    settings = dataclasses.replace(lab.settings(case.family), path=str(tmp_path / "stock"))

    def fill(folder: Path) -> None:
        save_weights(model, folder, settings)
        (folder / checkpoint.STATE).write_text("{}")

    checkpoint.write_aside(partial, fill)
    folder = checkpoint.seal(partial)
    loaded = load_checkpoint(folder)
    assert loaded.reasoner.config == model.reasoner.config
    assert type(loaded.reasoner.config) is registry.config_class(case.name)
    assert dataclasses.asdict(loaded.reasoner.config) == read_card(folder)["reasoner"]
    assert [row.ids for row in _written(lab, loaded)] == [row.ids for row in _written(lab, model)]
