"""Probes find what is planted, and nothing in noise."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import astuple, replace
from math import isfinite

import numpy as np
import pytest
import torch

from latentvr.data.record import AnswerType, Box, Record
from latentvr.diagnostics import probes
from latentvr.diagnostics.probes import Probe, probe
from latentvr.diagnostics.reading import Reading, States
from latentvr.errors import UserError

LETTERS = "ABCD"


def record(i: int, answer: str, answer_type: AnswerType = "text", **changes: object) -> Record:
    whole = Record(f"r{i}", "task", "test", (f"{i}.png",), "?", answer, answer_type)
    return replace(whole, **changes)  # type: ignore[arg-type]


def reading(
    latents: torch.Tensor, prompt: torch.Tensor | None = None, image: torch.Tensor | None = None
) -> Reading:
    """The same states at both depths; noise that is the same for all records in the prompt without others."""
    states = States(latents, latents.mean(0) * 0 if prompt is None else prompt, image)
    return Reading(0.5, torch.ones(len(latents)), None, None, {"middle": states, "last": states})


def noise(n: int, width: int, seed: int) -> list[Reading]:
    generator = torch.Generator().manual_seed(seed)
    return [reading(torch.randn(3, width, generator=generator)) for _ in range(n)]


def planted(values: Sequence[Sequence[float]], width: int, seed: int = 0) -> list[Reading]:
    """The values along random directions, with noise; two slots that differ by more noise."""
    rng = np.random.default_rng(seed)
    array = np.array(values, dtype=np.float64)
    directions = rng.standard_normal((array.shape[1], width))
    whole = array @ directions + 0.3 * rng.standard_normal((len(array), width))
    return [
        reading(torch.tensor(row + 0.1 * rng.standard_normal((2, width)), dtype=torch.float32))
        for row in whole
    ]


def of(found: list[Probe], target: str, source: str = "latents", depth: str = "last") -> Probe:
    (one,) = [p for p in found if (p.target, p.source, p.depth) == (target, source, depth)]
    return one


def one_hot(labels: Sequence[str]) -> list[list[float]]:
    names = sorted(set(labels))
    return [[float(label == name) for name in names] for label in labels]


@pytest.mark.parametrize("width", [6, 300])
def test_planted_classes_are_found(width: int) -> None:
    # Breaks if features and labels of different records are paired, in few dimensions or in many.
    labels = [LETTERS[i] for i in np.random.default_rng(1).integers(0, 4, 80)]
    found = probe([record(i, label) for i, label in enumerate(labels)], planted(one_hot(labels), width))
    best = of(found, "answer")
    assert best.score > 0.95
    assert best.shuffled < 0.45
    assert best.selectivity == best.score - best.shuffled
    assert best.shuffled_range[0] <= best.shuffled <= best.shuffled_range[1]
    assert (best.records, best.measure, best.reason, best.note) == (80, "accuracy", "", "")
    # The prompts are all the same: their score is that of the classes' sizes, and the control has it too.
    assert of(found, "answer", "prompt").selectivity == 0
    assert of(found, "answer", "image").reason == "no record with this target has an image"


@pytest.mark.parametrize("width", [6, 300])
def test_planted_boxes_are_found(width: int) -> None:
    # Breaks if a box's centre or size is computed wrongly, or numbers are scored as classes.
    corners = np.random.default_rng(2).random((80, 2, 2))
    corners.sort(axis=1)
    boxes = [tuple(c.reshape(-1).tolist()) for c in corners]
    records = [record(i, "x", bboxes=(Box(0, box),)) for i, box in enumerate(boxes)]
    values = [
        [10 * (x0 + x1) / 2, 10 * (y0 + y1) / 2, 10 * (x1 - x0), 10 * (y1 - y0)] for x0, y0, x1, y1 in boxes
    ]
    best = of(probe(records, planted(values, width)), "box")
    assert best.measure == "R2"
    assert best.score > 0.9
    assert -0.5 < best.shuffled < 0.1


def test_a_number_that_never_changes_is_no_part_of_r2() -> None:
    # Breaks if boxes of one size divide by a spread of zero or of rounding.
    x = np.random.default_rng(3).random(60) * 0.7
    records = [record(i, "x", bboxes=(Box(0, (v, 0.1, v + 0.3, 0.4)),)) for i, v in enumerate(x.tolist())]
    best = of(probe(records, planted([[10 * v] for v in x], 5)), "box")
    assert 0.9 < best.score <= 1
    same = [replace(r, bboxes=records[0].bboxes) for r in records]
    assert of(probe(same, noise(60, 5, 0)), "box").reason == "it is the same in all records"


@pytest.mark.parametrize(("n", "share"), [(20, 0.5), (60, 0.5), (60, 0.85)])
def test_noise_gives_no_selectivity(n: int, share: float) -> None:
    # Breaks if the control differs from the probe in anything but its labels, such as the classes' sizes
    # within folds: labels that are shuffled over all folds give a balanced set of 20 more than 0.1.
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = ["yes" if i < share * n else "no" for i in rng.permutation(n)]
        records = [record(i, label, "yesno") for i, label in enumerate(labels)]
        found.append(of(probe(records, noise(n, 100, seed), seed), "answer").selectivity)
    assert abs(np.mean(found)) < 0.06
    assert max(map(abs, found)) < 0.45


def test_noise_gives_no_selectivity_for_boxes() -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        boxes = [Box(0, (x, y, x + w, y + w)) for x, y, w in (0.5 * rng.random((50, 3))).tolist()]
        records = [record(i, "x", bboxes=(box,)) for i, box in enumerate(boxes)]
        found.append(of(probe(records, noise(50, 100, seed), seed), "box").selectivity)
    assert abs(np.mean(found)) < 0.03


def test_what_the_task_tells_is_no_selectivity() -> None:
    # Breaks if labels are shuffled across tasks: then knowing the task would pass for knowing the answer.
    rng = np.random.default_rng(4)
    tasks = ["first" if i % 2 else "second" for i in range(120)]
    labels = ["yes" if rng.random() < (0.85 if task == "first" else 0.15) else "no" for task in tasks]
    records = [record(i, label, "yesno", task=tasks[i]) for i, label in enumerate(labels)]
    best = of(probe(records, planted(one_hot(tasks), 30)), "answer")
    assert best.score > 0.75
    assert abs(best.selectivity) < 0.05


def test_records_of_the_same_images_stay_in_one_fold() -> None:
    # Breaks if folds split them: a probe would then know a held-out record's label from its double.
    rng = np.random.default_rng(5)
    images = [i // 2 for i in range(80)]
    answers = [LETTERS[i] for i in rng.integers(0, 2, 40)]
    features = rng.standard_normal((40, 500))
    records = [record(i, answers[image], images=(f"{image}.png",)) for i, image in enumerate(images)]
    readings = [reading(torch.tensor(features[image][None], dtype=torch.float32)) for image in images]
    apart = [replace(r, images=(f"{r.id}.png",)) for r in records]
    assert of(probe(apart, readings), "answer").score > 0.8
    assert of(probe(records, readings), "answer").score < 0.7


def test_held_out_records_do_not_touch_what_is_fitted() -> None:
    # Breaks if features are standardised over all records: one far away would then move its whole fold.
    rng = np.random.default_rng(6)
    features, wanted, folds = rng.standard_normal((40, 8)), rng.standard_normal((40, 3)), np.arange(40) % 5
    before = probes._predicted(features, wanted, folds)
    moved = features.copy()
    moved[0] *= 1000
    after = probes._predicted(moved, wanted, folds)
    same_fold = (folds == 0) & (np.arange(40) > 0)
    np.testing.assert_array_equal(before[same_fold], after[same_fold])
    assert not np.allclose(before[folds == 1], after[folds == 1])


def test_folds_hold_their_share_of_every_task_and_class() -> None:
    # Breaks if folds are cut from sorted records, or at random.
    records = [record(i, LETTERS[i % 2], task=f"t{i % 3}") for i in range(60)]
    folds = probes._folds(records, [r.answer for r in records], np.random.default_rng(0))
    for task in range(3):
        for label in range(2):
            members = [i for i in range(60) if i % 3 == task and i % 2 == label]
            assert np.bincount(folds[members], minlength=5).tolist() == [2] * 5


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ("AABB", "fewer than two classes have 5 records or more of different images"),
        ("AAABBB", "fewer than two classes have 5 records or more of different images"),
        ("A" * 40 + "BBB", "fewer than two classes have 5 records or more of different images"),
        ("A" * 40, "fewer than two classes have 5 records or more of different images"),
    ],
)
def test_too_few_records_are_a_reason(answers: str, reason: str) -> None:
    # Breaks if a fold without a class crashes, or such probes are left out of the list.
    n = len(answers)
    found = probe([record(i, a) for i, a in enumerate(answers)], noise(n, 50, 0))
    one = of(found, "answer")
    assert (one.reason, one.score, one.selectivity, one.records) == (reason, 0, 0, n)
    assert of(found, "box").reason == "no record has a box"
    assert len(found) == 4 * 3 * 2


def test_few_boxes_are_a_reason() -> None:
    records = [record(i, "x", bboxes=(Box(0, (0.0, 0.0, 0.1 * i + 0.1, 0.5)),)) for i in range(4)]
    one = of(probe(records, noise(4, 50, 0)), "box")
    assert (one.reason, one.records) == ("there are fewer than 10 records of different images", 4)


def test_tasks_too_small_to_shuffle_in_are_a_reason() -> None:
    # Breaks if labels that cannot be moved pass for a control: its score would be the probe's own.
    records = [record(i, LETTERS[i % 2], task=f"t{i // 4}") for i in range(40)]
    assert "a task has too few for 5 folds" in of(probe(records, noise(40, 50, 0)), "answer").reason


def test_rare_classes_are_left_out_and_said() -> None:
    labels = ["A", "B"] * 15 + ["C"] * 3 + ["D"]
    found = of(probe([record(i, a) for i, a in enumerate(labels)], planted(one_hot(labels), 40)), "answer")
    expected = "left out: records 4, classes 2 with fewer than 5 records of different images each"
    assert (found.reason, found.note, found.records) == ("", expected, 30)
    assert found.score > 0.9


@pytest.mark.parametrize("value", [0.0, 7.5])
def test_features_that_never_change_give_the_classes_sizes(value: float) -> None:
    # Breaks if a spread of zero divides: not a number, or a warning of one.
    readings = [reading(torch.full((2, 30), value)) for _ in range(40)]
    records = [
        record(i, "A" if i % 4 else "B", bboxes=(Box(0, (0.0, 0.0, 0.02 * i + 0.1, 1.0)),)) for i in range(40)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = probe(records, readings)
    assert (of(found, "answer").score, of(found, "answer").selectivity) == (0.75, 0)
    assert abs(of(found, "box").selectivity) < 1e-9
    assert all(isfinite(v) for p in found for v in (p.score, p.shuffled, *p.shuffled_range))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_states_that_are_not_finite_are_a_reason(bad: float) -> None:
    readings = noise(20, 5, 0)
    readings[3].states["last"].latents_KD[1, 2] = bad
    found = probe([record(i, LETTERS[i % 2]) for i in range(20)], readings)
    assert of(found, "answer").reason == "hidden states are not finite"
    assert all(isfinite(v) for p in found for v in (p.score, p.shuffled, *p.shuffled_range))


def test_records_without_a_source_are_not_counted_for_it() -> None:
    # Breaks if a record without slots gives a mean over nothing.
    readings = noise(30, 5, 0)
    readings[:8] = [reading(torch.zeros(0, 5), torch.zeros(5), torch.ones(5)) for _ in range(8)]
    found = probe([record(i, LETTERS[i % 2]) for i in range(30)], readings)
    assert of(found, "answer").records == 22
    assert of(found, "answer", "prompt").records == 30
    assert of(found, "answer", "image").reason.startswith("fewer than two classes")
    none = probe([record(i, LETTERS[i % 2]) for i in range(8)], readings[:8])
    assert of(none, "answer").reason == "no record with this target has latents"


def test_the_same_seed_gives_the_same_probes() -> None:
    records = [record(i, LETTERS[i % 3]) for i in range(40)]
    readings = noise(40, 60, 1)
    first, second, other = (
        probe(records, readings, 1),
        probe(records, readings, 1),
        probe(records, readings, 2),
    )
    assert [astuple(p) for p in first] == [astuple(p) for p in second]
    assert of(first, "answer").shuffled_range != of(other, "answer").shuffled_range


def test_no_records_give_no_probes() -> None:
    assert probe([], []) == []


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r'pip install "latentvr\[eval\]", or --without probes'):
        probe([], [])
