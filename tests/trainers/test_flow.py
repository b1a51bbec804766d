"""When a run saves and validates: at the ends of passes, which need not end with a step.

Breaks when: a pass that ends between two steps is missed, or counted twice.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from latentvr.config.schema import Recipe, TrainConfig
from latentvr.reasoners.base import Stage
from latentvr.trainers.flow import RunFlow
from latentvr.trainers.order import EpochOrder
from latentvr.trainers.signals import StopRequest
from latentvr.trainers.stage import StageRun


@pytest.mark.parametrize(
    ("per_epoch", "settings", "saves", "validates"),
    [
        (3, {}, [3, 6, 8], [3, 6, 8]),
        (Fraction(4, 3), {}, [2, 3, 4, 6, 7, 8], [2, 3, 4, 6, 7, 8]),
        (Fraction(1, 2), {}, [*range(1, 9)], [*range(1, 9)]),
        (Fraction(4, 3), {"validate_epochs": 2}, [2, 3, 4, 6, 7, 8], [3, 6, 8]),
        (Fraction(5, 2), {"save_steps": 4}, [3, 4, 5, 8], [3, 5, 8]),
        (Fraction(5, 2), {"validate_epochs": 0, "save_steps": 4}, [4, 8], []),
    ],
)
def test_saves_and_validations(
    per_epoch: Any, settings: dict[str, Any], saves: list[int], validates: list[int], tmp_path: Any
) -> None:
    recipe = Recipe(train=TrainConfig(**settings))
    run = StageRun(Stage("s", None), 0, 0, 8, 1e-3, last=True)  # type: ignore[arg-type]
    flow = RunFlow(EpochOrder(0, 0, 0), recipe, run, StopRequest(), per_epoch, validates=True)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    found: tuple[list[int], list[int]] = ([], [])
    for step in range(1, 9):
        control = flow.on_step_end(args, TrainerState(global_step=step), TrainerControl())
        found[0].extend([step] * control.should_save)
        found[1].extend([step] * control.should_evaluate)
    assert found == (saves, validates)
