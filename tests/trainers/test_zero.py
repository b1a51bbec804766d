"""What ZeRO stage 3 cannot split is refused; processes with whole copies do nothing special."""

from __future__ import annotations

import os

import pytest
import torch

from latentvr.attention.visibility import preset
from latentvr.errors import UserError
from latentvr.reasoners.base import Stage
from latentvr.reasoners.lvr.config import Config
from latentvr.reasoners.lvr.reasoner import Reasoner
from latentvr.trainers.zero import NotSplit, forget_deepspeed, require_even_passes

STAGE = Stage("first", preset("causal"))


@pytest.mark.parametrize(("first", "last"), [(0.0, 0.5), (0.5, 0.0)])
def test_predicted_slot_inputs_are_refused_at_any_point_of_the_stage(first: float, last: float) -> None:
    mixed = Config(slot_inputs="mixed", own_first=first, own_last=last)
    for config in (Config(slot_inputs="own"), mixed):
        with pytest.raises(UserError, match="expected given slot inputs with ZeRO stage 3"):
            require_even_passes(Reasoner(config), STAGE)
        assert config.feeds_own_latents == "slot_inputs"
    assert Config(slot_inputs="mixed", own_first=0, own_last=0).feeds_own_latents is None
    require_even_passes(Reasoner(Config()), STAGE)


def test_whole_copies_are_left_alone() -> None:
    whole, loss = NotSplit(), torch.tensor(2.0)
    assert whole.anchored(loss) is loss
    assert whole.optimizer is None
    assert not whole.skipped()
    for context in (whole.whole(), whole.autocast(), whole.collected(True)):
        with context:
            assert not torch.is_autocast_enabled("cpu")


def test_a_run_leaves_no_trace_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    forget_deepspeed()
    assert "ACCELERATE_USE_DEEPSPEED" not in os.environ
