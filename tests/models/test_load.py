"""Model folders: complete ones load to the bit, others are refused with one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from latentvr.attention.roles import Role
from latentvr.attention.visibility import BOTTLENECK, CAUSAL, Visibility
from latentvr.config.schema import ModelConfig
from latentvr.errors import ModelError, VisibilityError
from latentvr.models.load import choose_kernel, load_stock

HIDDEN_IMAGES = Visibility("images apart", frozenset({(Role.IMAGE, Role.IMAGE)}))


@pytest.fixture
def folder(lab: Any, family: str, tmp_path: Path) -> Path:
    model, processor = lab.stock(family)
    model.save_pretrained(tmp_path)
    processor.save(tmp_path)
    return tmp_path


def _load(folder: Path | str, **settings: Any) -> Any:
    return load_stock(ModelConfig(path=str(folder), **{"dtype": "float32", **settings}))


def test_a_local_folder_is_the_model_that_was_saved(lab: Any, family: str, folder: Path) -> None:
    model, processor = _load(folder)
    wanted, wanted_processor = lab.stock(family)
    assert type(model) is type(wanted)
    weights = model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in wanted.state_dict().items())
    assert processor.tokenizer.get_vocab() == wanted_processor.tokenizer.get_vocab()
    assert processor.tokenizer.chat_template == wanted_processor.tokenizer.chat_template
    image = lab.images(lab.records["one image"])
    for one, other in zip(processor.encode_images(image), wanted_processor.encode_images(image), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_number_format_asked_for(folder: Path, dtype: str) -> None:
    model, _ = _load(folder, dtype=dtype)
    assert {str(p.dtype) for p in model.parameters()} == {f"torch.{dtype}"}


def test_pixel_bounds(lab: Any, folder: Path) -> None:
    _, processor = _load(folder, min_pixels=128 * 128, max_pixels=128 * 128)
    _, grid = processor.encode_images(lab.images(lab.records["one image"]))
    assert grid.tolist() == [[1, 16, 16]]


def test_a_chat_template_in_its_older_file(folder: Path) -> None:
    file = folder / "chat_template.jinja"
    text = file.read_text()
    file.unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": text}))
    assert _load(folder)[1].tokenizer.chat_template == text


def test_no_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError) as error:
        _load(folder)
    assert str(error.value) == (
        f"expected a chat template in {str(folder)!r}, got none; fix: add chat_template.jinja to the folder"
    )


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "expected complete weights at model.path, got "),
        ("config.json", "expected a model folder or a reachable hub id at model.path, got "),
        ("tokenizer.json", "expected tokenizer and image processor files in "),
        ("preprocessor_config.json", "expected tokenizer and image processor files in "),
    ],
)
def test_missing_files(folder: Path, missing: str, message: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError) as error:
        _load(folder)
    _is_one_sentence(error.value, message)


@pytest.mark.parametrize("content", [b"", b"not a tensor file", b"\xff" * 64])
def test_damaged_weights(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError) as error:
        _load(folder)
    _is_one_sentence(error.value, "expected complete weights at model.path, got ")


def test_a_matrix_that_is_not_in_the_file(folder: Path) -> None:
    """Weights that are left at random would train and answer, and nobody would know."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    gone = next(name for name in weights if "q_proj" in name)
    save_file({k: v for k, v in weights.items() if k != gone}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError) as error:
        _load(folder)
    _is_one_sentence(error.value, "expected complete weights at model.path, got ")


@pytest.mark.parametrize("model_type", ["llama", "no_such_type"])
def test_another_model_type(folder: Path, model_type: str) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": model_type}))
    with pytest.raises(ModelError) as error:
        _load(folder)
    _is_one_sentence(error.value, "expected a model ")


@pytest.mark.parametrize("path", ["Qwen/Qwen3-VL-4B-Instruct", "no/such-model", "no such folder"])
def test_a_hub_id_without_a_network(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as error:
        _load(path)
    _is_one_sentence(error.value, "expected a model folder or a reachable hub id at model.path, got ")


def test_one_kernel_for_all_visibilities_of_a_run() -> None:
    assert choose_kernel("auto", [CAUSAL, BOTTLENECK]) == "two_pass"
    assert choose_kernel("auto", [CAUSAL, HIDDEN_IMAGES]) == "mask"
    assert choose_kernel("mask", [CAUSAL, BOTTLENECK]) == "mask"
    with pytest.raises(VisibilityError, match="expected a visibility in which every role sees itself"):
        choose_kernel("two_pass", [CAUSAL, HIDDEN_IMAGES])


def _is_one_sentence(error: Exception, start: str) -> None:
    assert str(error).startswith(start)
    assert "; fix: " in str(error)
    assert "\n" not in str(error)
