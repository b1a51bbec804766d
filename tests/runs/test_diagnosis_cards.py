"""Records on the page of a diagnosis: which answers count as changed, and which run is shown."""

from __future__ import annotations

from typing import Any

import pytest

from latentvr.config.schema import Recipe
from latentvr.data.toy import Toy
from latentvr.diagnostics.diagnose import Diagnosis
from latentvr.diagnostics.figures import table
from latentvr.diagnostics.outcome import Condition, Outcome
from latentvr.diagnostics.verdict import verdict
from latentvr.evaluation.metrics import judge
from latentvr.evaluation.report import Card
from latentvr.runs.diagnosis import Found
from latentvr.runs.diagnosis_report import diagnosis_report

SOURCE = Toy(["similarity"], "test", 2, 3)


def outcome(*texts: str) -> Outcome:
    pairs = zip(SOURCE.records, texts, strict=True)
    return Outcome(tuple(judge(record, text) for record, text in pairs), (0.5,) * len(texts))


def page(baseline: Outcome, *conditions: Condition) -> tuple[Found, tuple[Card, ...]]:
    nothing: Any = None  # without geometry and probes neither prompts nor the model are looked at
    figures = table(baseline, conditions)
    found = Found(
        Diagnosis(baseline, conditions, (), (), True, nothing),
        figures,
        verdict(figures, True, {}),
        None,
        (),
        {},
    )
    return found, diagnosis_report("run", found, nothing, SOURCE, Recipe()).cards


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("A", "B", True),
        ("A", "(A)", False),
        ("A", "nothing", True),
        # No answer was found in either, and still another thing was said.
        ("nothing", "something else", True),
        ("nothing", "nothing", False),
    ],
)
def test_an_answer_is_changed_where_it_counts_as_flipped(before: str, after: str, changed: bool) -> None:
    found, cards = page(outcome(before, "A"), Condition("drop", (outcome(after, "A"),)))
    assert [[answer.changed for answer in card.answers] for card in cards] == [
        [False, changed],
        [False, False],
    ]
    assert found.figures["drop"].flipped == changed / 2


def test_the_run_of_a_drawn_condition_is_named() -> None:
    drawn = Condition("swap", (outcome("A", "B"), outcome("B", "A")))
    _, cards = page(outcome("A", "A"), drawn, Condition("drop", (outcome("A", "A"),)))
    named = [[(answer.condition, answer.text) for answer in card.answers] for card in cards]
    assert named == [
        [("baseline", "A"), ("swap, seed 0", "A"), ("drop", "A")],
        [("baseline", "A"), ("swap, seed 0", "B"), ("drop", "A")],
    ]
