"""A model that trained as a whole goes on training from its checkpoint without a rounded weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from latentvr.config.schema import LoraConfig
from latentvr.models.trainable import set_trainable, train_language
from latentvr.models.weights import load_weights, save_weights


def _half(lab: Any, family: str) -> Any:
    model = lab.model(family)
    model.base.to(torch.bfloat16)
    return model


def _trained(lab: Any, family: str, kind: Any) -> Any:
    """A model in bfloat16 whose trained weights need more than bfloat16."""
    model = _half(lab, family)
    set_trainable(model, kind, LoraConfig())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.0 + 1e-4 if parameter.requires_grad else 1.0)
    return model


def test_a_trained_tower_comes_back_to_the_bit(lab: Any, family: str, tmp_path: Path) -> None:
    model = _trained(lab, family, "all")
    save_weights(model, tmp_path, lab.settings(family))
    fresh = _half(lab, family)
    train_language(fresh)  # as a run does that goes on
    load_weights(fresh, tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


def test_a_frozen_tower_stays_in_half_precision(lab: Any, family: str, tmp_path: Path) -> None:
    save_weights(_trained(lab, family, "language"), tmp_path, lab.settings(family))
    fresh = _half(lab, family)
    train_language(fresh)
    load_weights(fresh, tmp_path)
    assert {p.dtype for p in fresh.backbone.vision_tower.parameters()} == {torch.bfloat16}


def test_a_model_that_only_answers_keeps_its_number_format(lab: Any, family: str, tmp_path: Path) -> None:
    save_weights(_trained(lab, family, "all"), tmp_path, lab.settings(family))
    fresh = _half(lab, family)
    load_weights(fresh, tmp_path)
    assert {p.dtype for p in fresh.base.parameters()} == {torch.bfloat16}
