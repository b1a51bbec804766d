"""What probes are asked about a record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latentvr.data.record import Box, Record
from latentvr.diagnostics.probe_targets import Target, targets
from latentvr.errors import RecordError

RECORD = Record("r", "task", "test", ("r.png",), "?", "A", "mcq", choices=("a cat", "Dog!"))


def of(found: list[Target], name: str) -> Target:
    (one,) = [target for target in found if target.name == name]
    return one


def test_answers_are_canonical_and_counts_are_answers_in_numbers() -> None:
    # Breaks if "two" and "2" are two classes, or letters count as numbers.
    records = [replace(RECORD, answer="(b)"), replace(RECORD, answer_type="number", answer="two", choices=())]
    found = targets(records)
    assert of(found, "answer").labels == ("B", "2")
    assert of(found, "count").labels == (None, "2")


def test_a_box_is_the_centre_and_the_size_of_the_first() -> None:
    boxes = (Box(0, (0.25, 0.0, 0.75, 0.5)), Box(0, (0.0, 0.0, 1.0, 1.0)))
    (target,) = [t for t in targets([replace(RECORD, bboxes=boxes), RECORD]) if t.name == "box"]
    assert (target.measure, target.labels) == ("R2", ((0.5, 0.25, 0.5, 0.5), None))


def test_the_right_choice_counts_where_choices_differ_within_a_task() -> None:
    # Breaks if a letter under the same choices passes for more than a letter.
    same = replace(RECORD, task="same", choices=("first", "second"))
    found = targets([replace(RECORD, answer="B"), replace(RECORD, choices=("dog", "cat")), same, same])
    assert of(found, "class").labels == ("dog", "dog", None, None)
    assert of(targets([same, same]), "class").labels == (None, None)


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        (["a", "b", None], True), ([1, 2, 1], True), ([True, False, True], True), (["a", 1, 1], True),
        (["a", "a", None], False), ([1.5, 2.5, 1.5], False), ([["a"], ["b"], ["a"]], False),
        (["a", "b", ["c"]], False), (list(range(20)), True), (list(range(21)), False),
    ],
)  # fmt: skip
def test_entries_of_meta_need_two_to_twenty_texts_or_whole_numbers(values: list[object], taken: bool) -> None:
    records = [replace(RECORD, meta={} if value is None else {"key": value}) for value in values]
    found = [t for t in targets(records) if t.name == "meta.key"]
    assert bool(found) is taken
    if found:
        assert found[0].labels == tuple(None if value is None else str(value) for value in values)


def test_the_named_targets_are_there_even_if_no_record_has_them() -> None:
    # Breaks if a target that data lack disappears without a word.
    found = targets([replace(RECORD, answer_type="text")])
    assert [t.name for t in found] == ["answer", "box", "count", "class"]
    assert all(t.labels == (None,) and t.absent for t in found[1:])


def test_a_wrong_answer_names_its_record() -> None:
    with pytest.raises(RecordError, match="'r'"):
        targets([replace(RECORD, answer="none of them")])
