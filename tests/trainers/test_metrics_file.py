"""`metrics.jsonl` after kills, rewinds and damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentvr.errors import CheckpointError
from latentvr.trainers.metrics_file import MetricsFile, read


def test_rows_after_the_step_go_and_the_others_keep_their_text(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        file.append({"step": step, "loss": 0.1 + 0.2 * step, "name": "é\nline"})
    before = file.path.read_text().splitlines()
    file.rewind(2)
    assert file.path.read_text().splitlines() == before[:2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl"]


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append({"step": 1})
    with file.path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert read(file.path) == [{"step": 1}]
    file.rewind(5)
    assert file.path.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("line", ["\x00\x00\x00", "3", '{"step": 1', "\udcff"])
def test_a_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(CheckpointError) as error:
        read(path)
    assert str(error.value) == (
        f"expected a JSON object per line, got another text, at {path}:2; fix: remove this line"
    )


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path / "metrics.jsonl") == []
    MetricsFile(tmp_path / "metrics.jsonl").rewind(0)
    assert read(tmp_path / "metrics.jsonl") == []
