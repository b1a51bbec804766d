"""Shares with counts, means without, pairs and cycles."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import StringIO

import pytest
from rich.console import Console

from latentvr.errors import UserError
from latentvr.evaluation.measures import HEADER, Measure, cyclic, mean_of, pairs, rows, share, table
from latentvr.evaluation.metrics import Prediction, wilson

#: Questions of the five sub-tasks of BLINK that papers report together: 697.
FIVE = {
    "Counting": 120,
    "IQ_Test": 150,
    "Jigsaw": 150,
    "Relative_Reflectance": 134,
    "Spatial_Relation": 143,
}


def predicted(marks: Iterable[str], task: str = "t", first: int = 1) -> list[Prediction]:
    """A prediction for each mark: + is right, - is wrong, 0 has no answer."""
    return [
        Prediction(f"{task}/{i}", task, "x", None if mark == "0" else "A", "A", mark == "+", mark == "0")
        for i, mark in enumerate(marks, start=first)
    ]


def ratio(right: int, total: int, task: str = "t") -> list[Prediction]:
    return predicted("+" * right + "-" * (total - right), task)


@pytest.mark.parametrize(
    ("right", "total", "percent"),
    [
        (374, 697, 53.66),
        (386, 697, 55.38),
        (200, 300, 66.67),
        (226, 300, 75.33),
        (238, 400, 59.5),
        (152, 228, 66.67),
        (150, 191, 78.53),
        (0, 7, 0.0),
        (7, 7, 100.0),
    ],
)
def test_a_share_is_a_count_with_its_interval(right: int, total: int, percent: float) -> None:
    made = share("x", ratio(right, total))
    assert round(made.value, 2) == percent
    assert (made.correct, made.total, made.failures) == (right, total, 0)
    low, high = wilson(right, total)
    assert made.interval == pytest.approx((100 * low, 100 * high))


def test_answers_that_were_not_found_are_wrong_and_counted() -> None:
    made = share("x", predicted("+-0+00"))
    assert (made.value, made.correct, made.total, made.failures) == (pytest.approx(100 / 3), 2, 6, 3)


def test_pooled_and_mean_of_sub_tasks_differ() -> None:
    rights = {
        "Counting": 80,
        "IQ_Test": 40,
        "Jigsaw": 90,
        "Relative_Reflectance": 54,
        "Spatial_Relation": 110,
    }
    groups = {task: ratio(rights[task], total, task) for task, total in FIVE.items()}
    pooled = share("micro", [p for group in groups.values() for p in group])
    assert (pooled.correct, pooled.total, round(pooled.value, 2)) == (374, 697, 53.66)
    mean = mean_of("macro", [share(task, group) for task, group in groups.items()])
    by_hand = 100 * (80 / 120 + 40 / 150 + 90 / 150 + 54 / 134 + 110 / 143) / 5
    assert mean.value == pytest.approx(by_hand)
    assert round(mean.value, 2) == 54.11
    assert (mean.correct, mean.total, mean.interval, mean.failures) == (None, None, None, 0)


def test_a_mean_knows_failures_where_all_its_parts_do() -> None:
    parts = [Measure("a", 50.0, 1, 2, 1), Measure("b", 0.0, 0, 3, 2)]
    assert mean_of("m", parts) == Measure("m", 25.0, failures=3)
    assert mean_of("m", [*parts, Measure("c", 100.0)]) == Measure("m", 50.0)


def couples(predictions: list[Prediction]) -> dict[str, str]:
    """Questions 2i-1 and 2i are a pair."""
    return {p.id: str((int(p.id.rpartition("/")[2]) + 1) // 2) for p in predictions}


def test_a_pair_is_right_if_both_are() -> None:
    made = predicted("++" + "+-" + "-+" + "--" + "+0" + "00")
    assert pairs("p", made, couples(made)) == Measure("p", 100 / 6, 1, 6, 2)
    assert pairs("p", made[::-1], couples(made)) == pairs("p", made, couples(made))


def test_neighbours_of_two_pairs_are_no_pair() -> None:
    made = predicted("-++-")
    assert pairs("p", made, couples(made)) == Measure("p", 0.0, 0, 2, 0)


def test_all_of_mmvp_has_150_pairs() -> None:
    made = predicted("++-+" * 75)
    single, both = share("s", made), pairs("p", made, couples(made))
    assert (single.correct, single.total) == (225, 300)
    assert both is not None
    assert (both.correct, both.total, both.value) == (75, 150, 50.0)


def test_a_pair_that_is_not_complete_is_not_counted() -> None:
    made = predicted("+++")
    assert pairs("p", made, couples(made)) == Measure("p", 100.0, 1, 1, 0)
    assert pairs("p", made[2:], couples(made)) is None


def test_three_in_a_pair_are_an_error() -> None:
    made = predicted("+++")
    with pytest.raises(UserError, match="expected two predictions in a pair, got 3 in '1', at p; fix: "):
        pairs("p", made, {p.id: "1" for p in made})


def test_a_cycle_weighs_as_much_as_any_other() -> None:
    made = predicted("++++" + "+---" + "-0")
    cycles = {p.id: str(i // 4) for i, p in enumerate(made)}
    assert cyclic("c", made, cycles) == Measure("c", pytest.approx((100 + 25 + 0) / 3), failures=1)  # type: ignore[arg-type]
    even = made[:8]
    assert cyclic("c", even, cycles).value == pytest.approx(share("s", even).value)


def test_a_cycle_has_no_interval() -> None:
    made = ratio(300, 800)
    assert cyclic("c", made, {p.id: p.id for p in made}).interval is None


def test_nothing_to_measure_is_an_error_and_not_zero() -> None:
    for call in (
        lambda: share("x", []),
        lambda: mean_of("x", []),
        lambda: pairs("x", [], {}),
        lambda: cyclic("x", [], {}),
    ):
        with pytest.raises(UserError, match="expected at least one prediction, got none, at x; fix: "):
            call()


def test_a_prediction_without_a_group_is_an_error() -> None:
    made = predicted("++")
    for call in (lambda: pairs("x", made, {"t/1": "1"}), lambda: cyclic("x", made, {"t/1": "1"})):
        with pytest.raises(UserError, match="expected a group for each prediction, got none for 't/2', at x"):
            call()


def test_figures_are_plain_json() -> None:
    made = json.loads(json.dumps(share("x", predicted("+-0-")).to_json(), allow_nan=False))
    low, high = made.pop("interval")
    assert made == {"name": "x", "value": 25.0, "correct": 1, "total": 4, "failures": 1}
    assert 0 < low < 25 < high < 100
    assert Measure("m", 5.0).to_json() == {
        "name": "m", "value": 5.0, "correct": None, "total": None, "failures": None, "interval": None
    }  # fmt: skip


def test_rows_leave_out_what_a_mean_has_not() -> None:
    made = rows([share("all", ratio(374, 697)), Measure("mean", 54.108, failures=3), Measure("m", 1.0)])
    assert made == [
        ("all", "53.66", "374/697", "49.9 to 57.3", "0"),
        ("mean", "54.11", "", "", "3"),
        ("m", "1.00", "", "", ""),
    ]
    assert {len(row) for row in made} == {len(HEADER)}


def test_the_table_shows_hostile_names_as_text() -> None:
    stream = StringIO()
    Console(file=stream, width=100).print(table([share("[red]x\x1b[2J", ratio(1, 2))], "[b]title"))
    shown = stream.getvalue()
    assert "[b]title" in shown
    assert "[red]x" in shown
    assert "\x1b" not in shown
