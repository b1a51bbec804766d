"""The report of a run of reinforcement shows what its files hold, and nothing in them becomes markup."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from latentvr.errors import CheckpointError, RecipeError
from latentvr.evaluation.report import ReportTable
from latentvr.rl.health import FLAGS
from latentvr.runs.rl_curves import MOST_POINTS, curves, thinned
from latentvr.runs.rl_report import SHOWN, completion_groups, health_table, time_table, write_rl_report

EVIL = "<script>alert(1)</script>\"'><img src=https://example.org/x onerror=alert(2)>&"
SPECIAL = "<|latent_start|> a word <|im_end|>"


class Page(HTMLParser):
    """Names of tags and attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def row(step: int, **figures: float) -> dict[str, Any]:
    return {"step": step, "reward": 0.5, "reward_std": 0.25, "rewards/right/mean": 0.5, **figures}


def written(step: int, id: str = "r1", text: str = SPECIAL, **changes: Any) -> dict[str, Any]:
    made = {"step": step, "id": id, "prompt": "how many ?", "answer": "three", "completion": text}
    made |= {"rewards": {"right": 1.0, "rare": None}, "reward": 1.0, "advantage": -0.5}
    return made | {"latent_steps": 8, "finish": "end", **changes}


def run_folder(folder: Path, rows: list[dict[str, Any]], completions: list[dict[str, Any]]) -> Path:
    for name, lines in (("metrics", rows), ("completions", completions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = {"versions": {"latentvr": "9.9"}, "command": ["latentvr", "rl", "a b.yaml"], "seed": 42}
    manifest |= {"data": {"records": 7, "sha256": "abc"}, "git": {"commit": "f00", "changes": True}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_page_has_curves_flags_completions_and_origin(tmp_path: Path) -> None:
    rows = [row(step, entropy=0.001, kl=0.1) for step in range(1, 5)]
    rows.append({"step": 4, "validation_accuracy": 0.375})
    folder = run_folder(tmp_path, rows, [written(1, text="the first"), written(3), written(4)])
    file = write_rl_report(folder, ["right"], health_steps=3)
    page = Page(file.read_text(encoding="utf-8"))
    assert file == tmp_path / "report.html"
    for text in ("Reward", "Parts of the reward", "Entropy of the policy", "37.5 % at step 4", "the first"):
        assert text in page.text
    assert "Red flag at step 3: entropy has been below 0.02 for 3 steps" in page.text
    assert "reward 1 · right 1 · rare not applicable · advantage -0.5 · 8 latent steps" in page.text
    assert "latentvr rl 'a b.yaml'" in page.text
    assert "7 records, SHA-256 abc" in page.text
    assert page.text.count(SPECIAL) == 1
    assert "Step 3" not in page.text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = written(1, EVIL, EVIL, prompt=EVIL, answer=EVIL, rewards={EVIL: 1.0})
    folder = run_folder(tmp_path, [row(1) | {f"rewards/{EVIL}/mean": 0.5}], [evil])
    html = write_rl_report(folder, [EVIL]).read_text(encoding="utf-8")
    page = Page(html)
    assert "<script" not in html
    assert not page.tags & {"script", "img", "iframe", "link"}
    assert not any(name.startswith("on") for name in page.attributes)
    # Summary, legend, id, prompt, answer, completion and the name of its reward.
    assert page.text.count(EVIL) == 7


def test_marks_that_turn_text_around_are_taken_out(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, [row(1)], [written(1, text="a\u202eb\x1b[31mc\nd")])
    assert "abc\nd" in write_rl_report(folder, []).read_text(encoding="utf-8")


def test_a_run_that_has_logged_nothing_gives_a_page_that_says_so(tmp_path: Path) -> None:
    text = Page(write_rl_report(tmp_path, ["right"]).read_text(encoding="utf-8")).text
    assert "No optimiser step has been logged." in text
    assert "Health" not in text


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("metrics.jsonl", CheckpointError),
        ("completions.jsonl", CheckpointError),
        ("manifest.json", RecipeError),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, error: type[Exception]) -> None:
    folder = run_folder(tmp_path, [row(1)], [written(1)])
    (folder / name).write_text("[1\n")
    with pytest.raises(error, match=name):
        write_rl_report(folder, ["right"])


def cells(table: ReportTable, flag: str) -> tuple[str, ...]:
    (found,) = [line[1:] for line in table.rows if line[0].startswith(f"{flag} ")]
    return found


@pytest.mark.parametrize(
    ("entropies", "state"),
    [
        ((0.5, 0.4, 0.3), "fine"),
        ((0.5, 0.4, 0.01), "up since step 3"),
        ((0.5, 0.01, 0.01), "RED FLAG since step 2"),
        ((0.01, 0.01, 0.5), "raised at step 2, down again"),
    ],
)
def test_the_table_says_how_each_flag_stands(entropies: tuple[float, ...], state: str) -> None:
    rows = [row(step, entropy=value) for step, value in enumerate(entropies, 1)]
    table, hints = health_table(rows, 2, FLAGS)
    assert cells(table, "collapse") == (state, f"{entropies[0]:g}", f"{entropies[-1]:g}", "below 0.02")
    assert len(hints) == (state.startswith(("RED", "raised")))
    assert len(table.rows) == 2


def test_of_a_flag_that_comes_and_goes_the_last_hint_is_shown() -> None:
    rows = [row(step, entropy=0.01 if step % 3 else 0.5) for step in range(1, 10)]
    _, (hint,) = health_table(rows, 2, FLAGS)
    assert hint.startswith("Red flag at step 8: ")


def test_completions_are_those_of_the_first_and_the_last_step() -> None:
    many = [written(1, "a"), written(1, "b"), written(1, "a"), written(2, "x")]
    many += [written(5, "c") for _ in range(SHOWN + 2)]
    groups = completion_groups(many)
    assert [(group.heading, len(group.completions)) for group in groups] == [
        ("Step 1: a", 2),
        ("Step 1: b", 1),
        (f"Step 5, {SHOWN} of the step's {SHOWN + 2}: c", SHOWN),
    ]
    assert completion_groups([]) == ()


def test_a_single_step_is_shown_once() -> None:
    assert len(completion_groups([written(1)])) == 1


def test_the_reward_has_a_band_and_figures_that_are_missing_have_no_curve() -> None:
    charts = {chart.title: chart for chart in curves([row(1), row(2, reward=1.0)], ["right", "absent"])}
    assert list(charts) == ["Reward", "Parts of the reward"]
    (line,) = charts["Reward"].lines
    assert line.points == ((1, 0.5), (2, 1.0))
    assert line.spread == (0.25, 0.25)
    assert [line.name for line in charts["Parts of the reward"].lines] == ["right"]


def test_long_curves_are_means_and_say_so() -> None:
    points, size = thinned([(float(x), float(x % 2)) for x in range(2 * MOST_POINTS)])
    assert (len(points), size, points[1]) == (MOST_POINTS, 2, (2.5, 0.5))
    charts = curves([row(step) for step in range(2 * MOST_POINTS)], [])
    assert charts[0].y_label.endswith("; each point is the mean of 2 logged steps")
    assert len(charts[0].lines[0].spread) == MOST_POINTS


def test_times_are_means_with_their_share() -> None:
    rows = [row(1, **{"time/rollout": 2.0, "time/update": 1.0}), row(2, **{"time/rollout": 4.0})]
    assert time_table(rows).rows == (("rollout", "3", "75 %"), ("update", "1", "25 %"))
    assert time_table([]).rows == ()
