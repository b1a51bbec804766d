"""A run goes on with as many processes as it began with, wherever it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latentvr.errors import CheckpointError
from latentvr.trainers.checkpoint import STATE, require_processes


@pytest.mark.parametrize("done", [False, True])
def test_another_number_of_processes_is_refused(done: bool, tmp_path: Path) -> None:
    """Breaks when: only checkpoints inside a stage are looked at; the next one's steps differ too."""
    state = {"stage": 0, "name": "bottleneck", "step": 6, "done": done, "processes": 2}
    (tmp_path / STATE).write_text(json.dumps(state))
    require_processes(tmp_path, 2)
    with pytest.raises(CheckpointError) as error:
        require_processes(tmp_path, 1)
    assert str(error.value) == (
        f"expected 2 processes as in the run so far, got 1, at {str(tmp_path)!r}; fix: resume with 2"
    )
