"""The page on diagnosis: its conditions, its rule and the files that it describes are those of the code.

Breaks when: an intervention has no row or a row no intervention, the rule is told in other words than those
that stand beside a verdict, or a key of the written files is missing from the page or has gone.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from latentvr.cli.main import app, guarded
from latentvr.diagnostics.interventions import INTERVENTIONS
from latentvr.diagnostics.verdict import RULE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "diagnose.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]


def keys(file: str) -> set[str]:
    """Names in the row of a file."""
    (row,) = [line for line in section("Files").splitlines() if line.startswith(f"| `{file}` |")]
    return set(re.findall(r"`(\w+)`", row.split("|")[2]))


def test_every_intervention_has_its_row_in_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section("Interventions"), re.M)
    assert [name for name, _ in rows] == [each.name for each in INTERVENTIONS]
    for each, (_, text) in zip(INTERVENTIONS, rows, strict=True):
        assert each.drawn == ("a run for each seed" in text), each.name


def test_the_rule_is_told_in_its_own_words() -> None:
    assert f"\n> {RULE}\n" in section("The verdict")


def test_the_files_have_the_keys_that_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = str(ROOT / "tests" / "e2e" / "tiny.yaml")
    small = ["data.toy.train=4", "data.toy.validation=2", "data.toy.test=2", "train.batch_size=2"]
    short = ["stages.bottleneck.steps=1", "stages.causal.steps=1", "decode.max_new_tokens=2"]
    asked = ["--interventions", "drop,zeros,swap,oracle", "--seeds", "2", "--without", "probes"]
    for arguments in (["train", recipe, *small, *short, "train.output_dir=run"], ["diagnose", "run", *asked]):
        assert guarded(partial(app, args=arguments, standalone_mode=False)) == 0
    folder = Path("run/diagnose/test")
    results = json.loads((folder / "results.json").read_text())
    own = set(results) | set(results["verdict"])
    for made in results["conditions"].values():
        own |= set(made) - {"name"}
    assert keys("results.json") == own
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert keys("predictions.jsonl") == {key for row in rows for key in row}
    assert {row["condition"] for row in rows if "seed" in row} <= {"swap"}
