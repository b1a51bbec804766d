"""Counts, intervals and tables."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from latentvr.data.record import Record
from latentvr.errors import UserError
from latentvr.evaluation import metrics
from latentvr.evaluation.metrics import Prediction, Score, by_task, judge, macro, micro, rows, table, wilson


@pytest.mark.parametrize(
    ("k", "n", "level", "low", "high"),
    [
        # Newcombe 1998, table I, method 3.
        (81, 263, 0.95, 0.2553, 0.3662),
        (15, 148, 0.95, 0.0624, 0.1605),
        (0, 20, 0.95, 0.0, 0.1611),
        (1, 29, 0.95, 0.0061, 0.1718),
        (20, 20, 0.95, 0.8389, 1.0),
    ],
)
def test_wilson_gives_published_intervals(k: int, n: int, level: float, low: float, high: float) -> None:
    assert wilson(k, n, level) == pytest.approx((low, high), abs=6e-5)


def test_a_higher_level_gives_a_wider_interval() -> None:
    narrow, wide = wilson(5, 10, 0.8), wilson(5, 10, 0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


@pytest.mark.parametrize(("k", "n", "level"), [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_wilson_refuses_impossible_counts(k: int, n: int, level: float) -> None:
    with pytest.raises(UserError, match="expected 0 <= k <= n"):
        wilson(k, n, level)


def prediction(task: str, correct: bool, failed: bool = False) -> Prediction:
    return Prediction("i", task, "text", None if failed else "A", "A", correct, failed)


MIXED = [
    prediction("big", True),
    prediction("small", True),
    prediction("big", False),
    prediction("big", False, failed=True),
]


def test_tasks_are_scored_apart_and_failures_count_as_wrong() -> None:
    assert by_task(MIXED) == [Score("big", 1, 3, 1), Score("small", 1, 1, 0)]


def test_micro_weighs_predictions_and_macro_weighs_tasks() -> None:
    scores = by_task(MIXED)
    assert micro(scores).accuracy == pytest.approx(0.5)
    assert macro(scores) == pytest.approx((1 / 3 + 1) / 2)
    assert micro(scores).interval == wilson(2, 4)


def test_no_predictions_are_an_error_and_not_zero() -> None:
    with pytest.raises(UserError, match="at least one prediction"):
        by_task([])


def test_rows_hold_counts_and_both_totals() -> None:
    out = rows(by_task(MIXED))
    assert out[0] == ("big", "33.3", "1/3", "6.1 to 79.2", "1")
    assert [row[0] for row in out] == ["big", "small", "all (micro)", "mean of tasks (macro)"]
    assert out[3][1] == "66.7"


def test_one_task_needs_no_totals() -> None:
    assert len(rows(by_task(MIXED[:1]))) == 1


def test_the_table_shows_hostile_names_as_text() -> None:
    stream = StringIO()
    scores = by_task([prediction("[red]x[/red]\x1b[2Jy\nz", True)])
    Console(file=stream, width=100, force_terminal=False).print(table(scores, "[b]t"))
    assert "[red]x[/red]y z" in stream.getvalue()
    assert "[b]t" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert "1/1" in stream.getvalue()


def test_judging_a_text() -> None:
    record = Record("r", "t", "test", (), "?", "A", "mcq", choices=("x", "y"))
    assert judge(record, "x") == Prediction("r", "t", "x", "A", "A", True, False)
    assert judge(record, "B") == Prediction("r", "t", "B", "B", "A", False, False)
    assert judge(record, "hm") == Prediction("r", "t", "hm", None, "A", False, True)


def test_predictions_are_plain_json() -> None:
    for one in MIXED:
        assert Prediction(**json.loads(json.dumps(one.to_json()))) == one


def test_header_and_rows_have_the_same_width() -> None:
    assert {len(row) for row in rows(by_task(MIXED))} == {len(metrics.HEADER)}
