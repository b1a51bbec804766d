"""What is said of samples that several processes cannot share evenly."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from latentvr.config.schema import Recipe
from latentvr.runs.processes import warn_of_repeats


@pytest.mark.parametrize(
    ("processes", "size", "items", "part"),
    [
        (2, 25, 12, "steps hold some samples more than once, as 2 processes take 50 at once and there are "
         "12; train.batch_size=6 avoids this"),
        (4, 1, 3, "as 4 processes take 4 at once and there are 3; use at most 3 processes"),
        (2, 5, 12, "8 of 12 samples come twice in each epoch, as 2 processes take 10 at once; "),
        (2, 6, 12, None),
        (1, 25, 12, None),
    ],
)  # fmt: skip
def test_repeats_are_told(
    processes: int, size: int, items: int, part: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = Recipe()
    recipe.train.batch_size = size
    state: Any = SimpleNamespace(num_processes=processes, is_main_process=True)
    with caplog.at_level(logging.WARNING):
        warn_of_repeats(recipe, [items], state)
    assert [part in text for text in caplog.messages] == ([True] if part else [])  # type: ignore[operator]
