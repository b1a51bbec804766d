"""Folders as they are released: config, names of weights, tied and untied heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen3Config

from latentvr.config.schema import ModelConfig
from latentvr.models.llava_onevision1_5.configuration import LlavaOneVision15Config
from latentvr.models.llava_onevision1_5.registration import register
from latentvr.models.load import load_stock

NAMES = {
    "released": lambda name: name.replace("model.visual.", "visual.").replace("language_model.", ""),
    "of the modules": lambda name: name,
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("untied", [False, True], ids=["tied", "untied"])
def test_both_ways_to_name_weights_are_read(lab: Any, names: str, untied: bool, tmp_path: Path) -> None:
    # Breaks if a renaming is lost: transformers would leave random weights in place.
    model, processor = lab.stock("tiny-llava-ov-1.5", untied)
    model.config.architectures = ["LLaVAOneVision1_5_ForConditionalGeneration"]
    model.config.save_pretrained(tmp_path)
    processor.save(tmp_path)
    state = model.state_dict()
    given = {NAMES[names](k): v.clone() for k, v in state.items() if untied or k != "lm_head.weight"}
    assert any(name.startswith("visual.") for name in given) is (names == "released")
    save_file(given, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded, _ = load_stock(ModelConfig(path=str(tmp_path), dtype="float32"))
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())
    assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) is not untied


@pytest.mark.parametrize("untied", [False, True], ids=["tied", "untied"])
def test_saved_weights_have_the_released_names(lab: Any, untied: bool, tmp_path: Path) -> None:
    model, _ = lab.stock("tiny-llava-ov-1.5", untied)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    expected = {NAMES["released"](name) for name in model.state_dict()}
    assert set(saved) == (expected if untied else expected - {"lm_head.weight"})
    assert {"visual.class_embedding", "visual.blocks.0.attn.qkv.weight", "model.layers.3.mlp.up_proj.weight",
            "visual.merger.mlp.2.bias", "model.norm.weight"} <= set(saved)  # fmt: skip
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())


def test_a_released_config_is_read_as_it_is(tmp_path: Path) -> None:
    """Names of model types and a rotary base that the library's own files do not have."""
    written = {
        "model_type": "llavaonevision1_5",
        "architectures": ["LLaVAOneVision1_5_ForConditionalGeneration"],
        "text_config": {"model_type": "LLaVAOneVision1_5_text", "hidden_size": 64, "num_hidden_layers": 2,
                        "rope_theta": 5000000.0, "rope_scaling": None},
        "vision_config": {"model_type": "rice_vit", "embed_dim": 32, "hidden_size": 32, "depth": 1},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(written))
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is LlavaOneVision15Config
    assert type(config.text_config) is Qwen3Config
    assert config.text_config.rope_parameters == {"rope_theta": 5e6, "rope_type": "default"}
    assert (config.vision_config.hidden_size, config.vision_config.patch_size) == (32, 14)
    config.save_pretrained(tmp_path / "again")
    again = AutoConfig.from_pretrained(tmp_path / "again").to_dict()
    assert again["text_config"] == config.to_dict()["text_config"]


@pytest.mark.parametrize(
    ("top", "text", "tied"),
    [(True, False, True), (False, True, False), (None, True, True), (None, False, False)],
)
def test_the_whole_config_decides_on_the_head(top: bool | None, text: bool, tied: bool) -> None:
    # Breaks if the head of a released model is overwritten by its embedding, or the other way round.
    config = LlavaOneVision15Config(text_config={"tie_word_embeddings": text}, tie_word_embeddings=top)
    assert (config.tie_word_embeddings, config.text_config.tie_word_embeddings) == (tied, tied)


def test_registering_again_changes_nothing(lab: Any) -> None:
    register()
    model, _ = lab.stock("tiny-llava-ov-1.5")
    assert type(AutoModelForImageTextToText.from_config(model.config)) is type(model)
