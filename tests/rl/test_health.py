"""Red flags go up where figures say so, hints come once, and a resumed run gives the same ones."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

from latentvr.config.schema import Recipe
from latentvr.rl.health import FLAGS, START_ROWS, Flag, Watchman, flags_for

HIGH = Flag("high", "share", "at least", 0.5, "lower it")
GROWN = Flag("grown", "norm", "above", 4.0, "lower it", against_start=True)


def rows(*values: float, every: int = 1, figure: str = "share") -> list[dict[str, Any]]:
    return [{"step": every * number, figure: value} for number, value in enumerate(values, 1)]


def told_at(watchman: Watchman, seen: list[dict[str, Any]]) -> list[int]:
    return [row["step"] for row in seen for _ in watchman.look(row)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.5, 0.6, 0.7, 0.8, 0.9), [3]),
        ((0.5, 0.6, 0.4, 0.8, 0.9), []),
        ((0.4, 0.5, 0.5, 0.5, 0.4, 0.5, 0.5, 0.5, 0.5), [4, 8]),
        ((math.nan, math.nan, math.nan), []),
    ],
)
def test_a_hint_comes_once_per_stretch_that_is_long_enough(
    values: tuple[float, ...], expected: list[int]
) -> None:
    assert told_at(Watchman(3, [HIGH]), rows(*values)) == expected


def test_the_stretch_is_in_optimiser_steps_however_often_is_logged() -> None:
    assert told_at(Watchman(20, [HIGH]), rows(1.0, 1.0, 1.0, every=10)) == [20]


def test_rows_without_the_figure_change_nothing() -> None:
    seen = rows(1.0, 1.0, 1.0)
    seen.insert(2, {"step": 2, "validation_accuracy": 0.5})
    assert told_at(Watchman(3, [HIGH]), seen) == [3]


def test_a_hint_says_the_figure_how_long_and_what_to_do() -> None:
    watchman = Watchman(2, [HIGH])
    (hint,) = [hint for row in rows(0.75, 0.875) for hint in watchman.look(row)]
    assert hint == "share has been at least 0.5 for 2 steps, now 0.875: lower it"


def test_a_figure_is_compared_with_its_own_start() -> None:
    start = [1.0, 3.0] * START_ROWS
    seen = rows(*start[:START_ROWS], 6.0, 9.0, 7.0, figure="norm")
    mean = sum(start[:START_ROWS]) / START_ROWS
    assert 7.0 < 4 * mean < 9.0
    assert told_at(Watchman(1, [GROWN]), seen) == [START_ROWS + 2]


def test_the_start_does_not_move_with_the_run() -> None:
    slow = [1.1**i for i in range(40)]
    assert len(told_at(Watchman(1, [GROWN]), rows(*slow, figure="norm"))) == 1


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_resumed_run_gives_the_same_hints(cut: int) -> None:
    values = [1.0, 1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 0.1, 5.0, 5.0, 5.0]
    seen = [{"step": i, "share": value, "norm": value} for i, value in enumerate(values, 1)]
    flags = [HIGH, GROWN]
    straight = told_at(Watchman(3, flags), seen)
    assert straight == [3, 8, 12, 12]
    before, after = Watchman(3, flags), Watchman(3, flags)
    first = told_at(before, seen[:cut])
    after.load(json.loads(json.dumps(before.state())))
    assert first + told_at(after, seen[cut:]) == straight


def test_a_state_is_not_changed_by_what_comes_after() -> None:
    watchman = Watchman(3, [HIGH, GROWN])
    watchman.look({"step": 1, "share": 1.0, "norm": 1.0})
    state = watchman.state()
    copy = json.dumps(state)
    watchman.look({"step": 2, "share": 1.0, "norm": 2.0})
    assert json.dumps(state) == copy


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("no-spread", 0.0, 1e-6), ("equal-rewards", 0.8, 0.79), ("cut-short", 0.3, 0.29),
        ("never-latent", 0.5, 0.49), ("unclosed", 0.2, 0.19), ("collapse", 0.019, 0.02),
        ("far-from-start", 1.01, 1.0), ("clipped", 0.31, 0.3), ("latents-clipped", 0.51, 0.5),
        ("replay-gap", 0.011, 0.01), ("stale-latents", 0.51, 0.5), ("latents-grow", 4.1, 4.0),
        ("latents-shrink", 0.24, 0.25),
    ],
)  # fmt: skip
def test_limits(name: str, bad: float, good: float) -> None:
    (flag,) = [flag for flag in FLAGS if flag.name == name]
    assert flag.test(bad)
    assert not flag.test(good)


def test_every_flag_has_a_limit_that_is_tested() -> None:
    assert len(FLAGS) == len({flag.name for flag in FLAGS}) == 13


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_may_replay_less_exactly(dtype: str) -> None:
    assert flags_for("float32") == FLAGS
    changed = [(a.name, b.limit) for a, b in zip(FLAGS, flags_for(dtype), strict=True) if a != b]
    assert changed == [("replay-gap", 0.5)]


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_hints_name_settings_that_exist(flag: Flag) -> None:
    sections = get_type_hints(Recipe)
    named = re.findall(r"\b([a-z]+)\.([a-z_]+)\b", flag.hint.replace("completions.jsonl", ""))
    assert named or flag.name == "no-spread"
    for section, key in named:
        assert key in {field.name for field in fields(sections[section])}
