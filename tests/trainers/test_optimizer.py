"""Which parameters are decayed, and at which rate they train."""

from __future__ import annotations

from typing import Any

import pytest

from latentvr.config.schema import LoraConfig, OptimConfig
from latentvr.models.trainable import set_trainable
from latentvr.trainers.optimizer import parameter_groups


@pytest.mark.parametrize("untied", [False, True])
def test_all_token_rows_have_their_rate_and_no_decay(lab: Any, untied: bool) -> None:
    """Those of an untied head too."""
    model = lab.model("tiny-qwen3-vl", "lvr", untied=untied)
    set_trainable(model, "language", LoraConfig())
    optim = OptimConfig(token_learning_rate=0.5, weight_decay=0.1)
    groups = parameter_groups(model, optim, 0.001)
    rows = {id(p) for p in model.rows.parameters()}
    assert len(rows) == 1 + untied
    for group in groups:
        inside = [id(p) in rows for p in group["params"]]
        assert all(inside) or not any(inside)
        if any(inside):
            assert (len(inside), group["lr"], group["weight_decay"]) == (1 + untied, 0.5, 0.0)
        else:
            assert group["lr"] == 0.001
    assert sum(id(p) in rows for group in groups for p in group["params"]) == 1 + untied
