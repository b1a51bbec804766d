"""What a run folder says about the run, when it begins and each time it goes on."""

from __future__ import annotations

from pathlib import Path

from latentvr.runs.folder import read_manifest, write_manifest


def test_a_resumed_run_says_how_it_is_split_now(tmp_path: Path) -> None:
    facts = {"seed": 1, "data": {"records": 1, "sha256": "0"}, "attention": "mask"}
    for step, stage in ((0, 2), (4, 3), (6, None)):
        write_manifest(tmp_path, {**facts, "zero_stage": stage}, step)
    manifest = read_manifest(tmp_path / "manifest.json")
    assert manifest["zero_stage"] == 2
    assert [(entry["step"], entry["zero_stage"]) for entry in manifest["resumed"]] == [(4, 3), (6, None)]
