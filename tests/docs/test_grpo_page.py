"""The page on GRPO-latent: its health table against what runs log, its keys, and its reward function.

Breaks when: a logged figure or a red flag has no row, a row has another limit or other advice than the log
gives, a figure of the page exists no more, or the page's reward function does not run.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest

from latentvr.cli.main import app, guarded
from latentvr.config.rl_section import RLConfig
from latentvr.config.schema import Recipe
from latentvr.rl.health import FLAGS, Flag, flags_for
from latentvr.rl.rewards.registry import OWN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "methods" / "grpo_latent.md").read_text(encoding="utf-8")
SOURCES = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "latentvr").rglob("*.py"))
KEY = re.compile(r"\b(?:rl|optim|decode|model|train)\.[a-z_]+")


def health_rows() -> dict[str, list[str]]:
    """Cells of the table by figure; a row may be about several."""
    section = PAGE.split("## Health\n")[1].split("\n## ")[0]
    cells = [re.split(r" ?\| ?", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {figure: row for row in cells for figure in re.findall(r"`([^`]+)`", row[0])}


@pytest.mark.parametrize("flag", FLAGS, ids=[flag.name for flag in FLAGS])
def test_a_red_flag_has_its_row(flag: Flag) -> None:
    _, _, condition, advice = health_rows()[flag.figure]
    assert f"{flag.condition} ({flag.name})" in condition
    for key in KEY.findall(flag.hint):
        assert f"`{key}" in advice, f"{flag.name}: {key}"


def test_the_page_has_no_other_flags() -> None:
    named = {name for row in health_rows().values() for name in re.findall(r"\(([a-z-]+)\)", row[2])}
    assert named == {flag.name for flag in FLAGS}
    wider = {flag.figure: flag.condition for flag in flags_for("bfloat16")}["replay_gap"]
    assert f"in half precision {wider}" in health_rows()["replay_gap"][2]


def test_a_run_logs_what_the_page_says_with_the_pages_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    Path("rewards.py").write_text(block)
    (given,) = re.findall(r"`(rl\.reward_file=[^`]+)`", PAGE)
    recipe = str(ROOT / "tests" / "e2e" / "rl_tiny.yaml")
    settings = [
        "rl.steps=2",
        "rl.latent_ratio=gaussian",
        "train.output_dir=run",
        "rl.temperature=3",
        *given.split(),
    ]
    call = partial(app, args=["rl", recipe, *settings], standalone_mode=False)
    assert guarded(call) == 0
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    logged = {re.sub(r"^rewards/[^/]+/", "rewards/NAME/", key) for row in rows for key in row}
    assert logged - set(health_rows()) == set()
    # What this model, which opens no span, gives no value for.
    for figure in set(health_rows()) - logged:
        assert f'"{figure}"' in SOURCES, figure
    assert {"kl", "replay_gap", "validation_accuracy", "rewards/NAME/mean", "share_never_latent"} <= logged
    assert "rewards/brief/mean" in rows[0]


def test_every_key_of_the_page_exists() -> None:
    sections = {field.name for field in fields(Recipe)}
    for key in KEY.findall(PAGE):
        section, name = key.split(".")
        assert section in sections
        holder = getattr(Recipe(), section)
        assert name in {field.name for field in fields(holder)}, key


def test_every_key_of_the_section_is_on_the_page_or_explains_itself() -> None:
    """Those that the page leaves to the reference are few and named here."""
    left = {"attention_layers", "epsilon", "kl", "log_completions", "trust_reward_file"}
    absent = {field.name for field in fields(RLConfig)} - {
        key[3:] for key in KEY.findall(PAGE) if key[:3] == "rl."
    }
    assert absent <= left


def test_every_reward_of_the_library_has_a_row() -> None:
    section = PAGE.split("## Rewards\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.M)) == set(OWN)
