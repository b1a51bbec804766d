"""Weight files as they come: public names, shards, gaps and cut-off downloads."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentvr.config.schema import ModelConfig
from latentvr.data import toy
from latentvr.errors import ModelError
from latentvr.models import tiny
from latentvr.models.load import load_stock


def public_name(name: str) -> str:
    """`visual.*` and `model.*`, as the files on the hub have it."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


@pytest.mark.parametrize("shards", [1, 2])
def test_public_names_load_into_every_parameter(tmp_path: Path, shards: int) -> None:
    # Breaks if a renaming is lost: transformers would only warn and leave random weights in place.
    model, processor = tiny.build("tiny-qwen2.5-vl", toy.corpus(), seed=5)
    processor.save(tmp_path)
    model.config.save_pretrained(tmp_path)
    state = {public_name(k): v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    assert {name.split(".")[0] for name in state} == {"visual", "model"}
    assert not any("language_model" in name for name in state)
    write_shards(state, tmp_path, shards)
    loaded, _ = load_stock(ModelConfig(path=str(tmp_path), dtype="float32"))
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def write_shards(state: dict[str, torch.Tensor], folder: Path, shards: int) -> None:
    """Write one file, or several with the index that names them."""
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(state)
    index = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: state[name] for name in names[i::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def test_saved_models_keep_the_public_names(tmp_path: Path) -> None:
    # Breaks if what the library saves could no longer be read by tools that know the public names.
    model, _ = tiny.build("tiny-qwen2.5-vl", toy.corpus())
    model.save_pretrained(tmp_path)
    assert {name.split(".")[0] for name in load_file(tmp_path / "model.safetensors")} == {"visual", "model"}


def test_weights_that_lack_a_parameter_are_refused(tmp_path: Path) -> None:
    # Breaks if the gap is filled with random numbers, as transformers does.
    model, processor = tiny.build("tiny-qwen3-vl", toy.corpus())
    processor.save(tmp_path)
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    gap = next(name for name in state if "layers.1.mlp.up_proj" in name)
    del state[gap]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj.*fix: download the model again"):
        load_stock(ModelConfig(path=str(tmp_path), dtype="float32"))


def test_a_cut_off_download_is_refused(tmp_path: Path) -> None:
    model, processor = tiny.build("tiny-qwen3-vl", toy.corpus())
    processor.save(tmp_path)
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"expected complete weights at model\.path"):
        load_stock(ModelConfig(path=str(tmp_path), dtype="float32"))


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    model, processor = tiny.build("tiny-qwen3-vl", toy.corpus())
    processor.save(tmp_path)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 8
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"expected complete weights at model\.path"):
        load_stock(ModelConfig(path=str(tmp_path), dtype="float32"))
