"""`latentvr report-table` at the terminal: what it prints for no name, a name, and results."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from latentvr.cli.main import guarded
from latentvr.cli.report_table import run


def test_it_lists_prints_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "eval" / "blink-native"
    folder.mkdir(parents=True)
    scores = [{"task": "Jigsaw", "correct": 90, "total": 150, "failures": 3}]
    facts = {"verb": "eval", "benchmark": {"name": "blink", "style": "native"}, "scores": scores}
    (folder / "results.json").write_text(json.dumps(facts))
    assert guarded(partial(run, "", [], markdown=False)) == 0
    assert "livr-probes" in capsys.readouterr().out
    assert guarded(partial(run, "livr-v1", [], markdown=True)) == 0
    assert "| livr | Qwen2.5-VL-3B | LIVR, K = 4 |" in capsys.readouterr().out
    assert guarded(partial(run, "livr-v1", [f"livr={tmp_path}"], markdown=False)) == 0
    out = capsys.readouterr().out
    (line,) = [line.split() for line in out.splitlines() if line.startswith("Jigsaw  ")]
    assert line == ["Jigsaw", "68.00", "102/150", "60.00", "90/150", "52.0", "to", "67.5", "-8.00", "0.67"]
    assert "Jigsaw: 3 of 150 answers hold none and count as wrong" in out


def test_a_wrong_table_is_one_sentence_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(partial(run, "table-1", [], markdown=False)) == 2
    assert guarded(partial(run, "", ["livr=x"], markdown=False)) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 2
    assert shown.err.startswith("error: expected a table of livr-1, ")
    assert shown.out == ""
