"""Training goes on from adapters, token rows and whole models of ours: `model.path` names their checkpoint.

Breaks when: adapters begin anew or are scaled otherwise, the dropout of the first training stays, another
method's rows are taken, a module that a run saved begins anew, or a second checkpoint loses what it stands
on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from latentvr.attention.visibility import CAUSAL
from latentvr.config.schema import LoraConfig, ModelConfig
from latentvr.errors import CheckpointError
from latentvr.models.continued import lasting
from latentvr.models.published import load_published
from latentvr.models.trainable import set_trainable
from latentvr.models.weights import load_weights, save_weights
from latentvr.reasoners import registry

LORA = LoraConfig(r=4, alpha=8, dropout=0.1)
PLAIN = ModelConfig(path="tiny-qwen2.5-vl", dtype="float32", attention="mask", lora=LORA)


def _settings(name: str, **options: Any) -> Any:
    return registry.config_class(name)(**{"name": name, **options})


def _load(config: ModelConfig, name: str, **options: Any) -> Any:
    return load_published(config, _settings(name, **options), [CAUSAL], seed=1)


def _changed(model: Any, kind: Any, lora: LoraConfig = LORA) -> Any:
    """The model with all that trains moved, so that nothing is what it began as."""
    set_trainable(model, kind, lora)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def _logits(model: Any, lab: Any) -> Any:
    batch = lab.batch(model, [*lab.records.values()][:2], side="left", answer=False)
    with torch.no_grad():
        return model.eval().logits(model.hidden(batch, model.features(batch), _stage()))


def _stage() -> Any:
    from latentvr.reasoners.base import Stage

    return Stage("test", CAUSAL)


@pytest.mark.parametrize("kind", ["lora", "tokens", "language"])
@pytest.mark.parametrize("name", ["livr", "lvr"])
def test_training_begins_where_the_checkpoint_ended(kind: Any, name: str, lab: Any, tmp_path: Path) -> None:
    first = _changed(_load(PLAIN, name), kind)
    save_weights(first, tmp_path, PLAIN)
    again = _load(replace(PLAIN, path=str(tmp_path)), name)
    assert torch.equal(_logits(again, lab), _logits(first, lab))
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_a_checkpoint_stands_on_another(lab: Any, tmp_path: Path) -> None:
    """Adapters of reinforcement on adapters of fine-tuning, read back as evaluation does."""
    below, above = tmp_path / "sft", tmp_path / "rl"
    save_weights(_changed(_load(PLAIN, "livr"), "lora"), below, PLAIN)
    config = replace(PLAIN, path=str(below))
    second = _changed(_load(config, "livr"), "lora")
    save_weights(second, above, config)
    third = load_published(config, _settings("livr"), [CAUSAL], fresh=False)
    load_weights(third, above)
    assert torch.equal(_logits(third, lab), _logits(second, lab))
    fourth = _load(replace(PLAIN, path=str(above)), "livr")
    assert torch.equal(_logits(fourth, lab), _logits(second, lab))


def test_a_whole_model_stands_on_adapters(lab: Any, tmp_path: Path) -> None:
    below, above = tmp_path / "sft", tmp_path / "rl"
    save_weights(_changed(_load(PLAIN, "lvr"), "lora"), below, PLAIN)
    config = replace(PLAIN, path=str(below))
    second = _changed(_load(config, "lvr"), "language")
    save_weights(second, above, config)
    third = load_published(config, _settings("lvr"), [CAUSAL], fresh=False)
    load_weights(third, above)
    assert torch.equal(_logits(third, lab), _logits(second, lab))


def test_the_dropout_is_that_of_the_recipe(tmp_path: Path) -> None:
    save_weights(_changed(_load(PLAIN, "livr"), "lora"), tmp_path, PLAIN)
    config = replace(PLAIN, path=str(tmp_path), lora=replace(LORA, dropout=0.0))
    model = _load(config, "livr")
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} <= {0.0}


@pytest.mark.parametrize(
    ("change", "key"), [({"r": 8}, "r"), ({"alpha": 16}, "alpha"), ({"modules": ["q_proj"]}, "modules")]
)
def test_other_adapters_are_refused(change: dict[str, Any], key: str, tmp_path: Path) -> None:
    save_weights(_changed(_load(PLAIN, "livr"), "lora"), tmp_path, PLAIN)
    config = replace(PLAIN, path=str(tmp_path), lora=replace(LORA, **change))
    with pytest.raises(CheckpointError, match=rf"expected model.lora.{key} as in the adapters"):
        _load(config, "livr")


def test_another_methods_adapters_are_refused(tmp_path: Path) -> None:
    save_weights(_changed(_load(PLAIN, "livr"), "lora"), tmp_path, PLAIN)
    with pytest.raises(CheckpointError, match="adapters of the method 'lvr', got those of 'livr'"):
        _load(replace(PLAIN, path=str(tmp_path)), "lvr")


@pytest.mark.parametrize("kind", ["lora", "language"])
def test_a_learned_noise_may_begin_on_a_model_without(kind: Any, tmp_path: Path) -> None:
    below, above = tmp_path / "sft", tmp_path / "rl"
    first = _changed(_load(PLAIN, "lvr"), kind)
    save_weights(first, below, PLAIN)
    config = replace(PLAIN, path=str(below))
    noisy = _load(config, "lvr", noise=0.05)
    hidden = torch.randn(3, noisy.backbone.width)
    assert torch.equal(noisy.reasoner.latent_inputs(hidden), hidden)
    torch.testing.assert_close(noisy.reasoner.latent_deviations(hidden), torch.full_like(hidden, 0.05))
    save_weights(_changed(noisy, kind), above, config)
    again = _load(replace(PLAIN, path=str(above)), "lvr", noise=0.05)
    assert not torch.equal(again.reasoner.latent_inputs(hidden), hidden)
    assert torch.equal(again.reasoner.latent_inputs(hidden), noisy.reasoner.latent_inputs(hidden))
    with pytest.raises(CheckpointError, match="among the method's modules"):
        _load(replace(PLAIN, path=str(above)), "lvr")


def test_other_modules_may_not_begin_anew(tmp_path: Path) -> None:
    save_weights(_changed(_load(PLAIN, "lvr"), "lora"), tmp_path, PLAIN)
    with pytest.raises(CheckpointError, match="among the method's modules"):
        _load(replace(PLAIN, path=str(tmp_path)), "lvr", head="mlp")


def test_a_checkpoint_needs_the_first_model_that_it_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders by their full path; a built-in model by its name, whatever folders there are."""
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "sft"):
        (tmp_path / name).mkdir()
    (tmp_path / PLAIN.path).mkdir()
    assert lasting(PLAIN, whole=False).path == PLAIN.path
    assert lasting(replace(PLAIN, path="plain"), whole=False).path == str(tmp_path / "plain")
    assert lasting(replace(PLAIN, path="some/hub-id"), whole=False).path == "some/hub-id"
    save_weights(_changed(_load(PLAIN, "lvr"), "language"), tmp_path / "sft", PLAIN)
    started = replace(PLAIN, path="sft")
    assert lasting(started, whole=True).path == PLAIN.path
    assert lasting(started, whole=False).path == str(tmp_path / "sft")
