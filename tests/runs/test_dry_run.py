"""What a dry run tells about a stage that trains everything."""

from __future__ import annotations

from pathlib import Path

from latentvr.config.load import load
from latentvr.runs.dry_run import describe

RECIPE = Path(__file__).parents[2] / "recipes" / "sft_tiny.yaml"


def test_all_is_every_parameter(tmp_path: Path) -> None:
    settings = ["optim.trainable=all", "data.toy.train=4", "data.toy.validation=2", "data.feature_cache=off"]
    text = describe(load(RECIPE, [*settings, f"train.output_dir={tmp_path}/run"]))
    lines = [line for line in text.splitlines() if "train (all)" in line]
    assert lines
    assert all(line.endswith("100.000 % of all") for line in lines)
