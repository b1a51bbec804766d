"""Two evaluations side by side: the figures by hand, and every way in which the folders can be wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentvr.errors import UserError
from latentvr.evaluation.metrics import Prediction
from latentvr.evaluation.paired import bootstrap, holm, mcnemar
from latentvr.runs.compare import Comparison, compare
from latentvr.runs.evaluate import Evaluation, write_results

SHA = "0123456789abcdef" * 4
DECODE = {"max_new_tokens": 8, "visibility": "causal"}


def _write(
    folder: Path,
    right: Sequence[bool],
    tasks: Sequence[str] = (),
    sha: str = SHA,
    **decode: Any,
) -> Path:
    """What `latentvr eval` writes, by the function that writes it."""
    named = tasks or ["counting"] * len(right)
    made = [
        Prediction(f"r{i}", task, "text", "A", "A" if good else "B", bool(good), False)
        for i, (good, task) in enumerate(zip(right, named, strict=True))
    ]
    facts = {
        "checkpoint": f"of {folder.name}",
        "split": "test",
        "data": {"records": len(made), "sha256": sha},
        "decode": {**DECODE, **decode},
    }
    write_results(Evaluation(made, facts, folder, False))
    return folder


def _condition(folder: Path, name: str, right: Sequence[bool], seed: int | None = None) -> None:
    """Add answers of a condition, as a diagnosis writes them."""
    drawn = {} if seed is None else {"seed": seed}
    with (folder / "predictions.jsonl").open("a") as stream:
        for i, good in enumerate(right):
            row = {"condition": name, **drawn, "id": f"r{i}", "task": "counting", "correct": good}
            stream.write(json.dumps(row) + "\n")


def _both(tmp_path: Path, a: Sequence[bool], b: Sequence[bool], tasks: Sequence[str] = ()) -> Comparison:
    return compare(_write(tmp_path / "a", a, tasks), _write(tmp_path / "b", b, tasks))


def test_the_figures_by_hand(tmp_path: Path) -> None:
    a = [True, True, False, False, True, False, True, True]
    b = [True, False, True, True, True, True, True, True]
    tasks = ["x", "y", "x", "y", "x", "x", "y", "x"]
    found = _both(tmp_path, a, b, tasks)
    x, y = found.tasks
    assert (x.task, x.records, x.right_a, x.right_b, x.only_a, x.only_b) == ("x", 5, 3, 5, 0, 2)
    assert (y.task, y.records, y.right_a, y.right_b, y.only_a, y.only_b) == ("y", 3, 2, 2, 1, 1)
    assert (x.difference, y.difference) == (pytest.approx(0.4), 0)
    assert x.interval == bootstrap([0, 1, 0, 1, 0])
    assert (x.p, y.p) == (mcnemar([False, False], [True, True]), 1)
    assert {"x": x.adjusted, "y": y.adjusted} == holm({"x": x.p, "y": y.p})
    total = found.total
    assert (total.records, total.right_a, total.right_b, total.only_a, total.only_b) == (8, 5, 7, 1, 3)
    assert total.p == total.adjusted == mcnemar(a, b)


def test_a_run_folder_holds_its_results_by_split(tmp_path: Path) -> None:
    a = _write(tmp_path / "a" / "eval" / "validation", [True])
    b = _write(tmp_path / "b", [False])
    found = compare(tmp_path / "a", b, split="validation")
    assert (found.a.folder, found.b.folder) == (a, b)
    assert found.a.checkpoint == "of validation"


def test_a_run_that_was_only_diagnosed_is_compared_too(tmp_path: Path) -> None:
    a = _write(tmp_path / "a" / "diagnose" / "test", [True])
    b = _write(tmp_path / "b" / "diagnose" / "test", [False])
    evaluated = _write(tmp_path / "b" / "eval" / "test", [True])
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found.a.folder, found.b.folder) == (a, evaluated)
    assert b != evaluated


def test_the_model_as_it_is_is_compared_where_nothing_else_is_asked_for(tmp_path: Path) -> None:
    found = _both(tmp_path, [True], [True])
    assert (found.a.condition, found.b.condition) == ("baseline", "baseline")


def test_a_condition_is_compared_on_request(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", [True, True])
    _condition(folder, "drop", [False, False])
    assert compare(folder, folder, condition="drop").total.right_a == 0
    assert compare(folder, folder).total.right_a == 2


def test_a_condition_is_looked_for_where_it_was_written(tmp_path: Path) -> None:
    """A run that was evaluated as well has its baseline in two places, and its conditions in one."""
    evaluated = _write(tmp_path / "a" / "eval" / "test", [True, True])
    diagnosed = _write(tmp_path / "a" / "diagnose" / "test", [True, True])
    _condition(diagnosed, "drop", [True, False])
    assert compare(tmp_path / "a", tmp_path / "a", condition="drop").a.folder == diagnosed
    assert compare(tmp_path / "a", tmp_path / "a", condition="drop").total.right_a == 1
    for name in (None, "baseline"):
        assert compare(tmp_path / "a", tmp_path / "a", condition=name).a.folder == evaluated


def test_no_results_of_a_condition_ask_for_a_diagnosis(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fix: latentvr diagnose .*/none --split test"):
        compare(tmp_path / "none", tmp_path, condition="drop")


def test_one_seed_of_a_drawn_condition_is_compared(tmp_path: Path) -> None:
    a, b = (_write(tmp_path / name, [True, True]) for name in "ab")
    for seed, right in enumerate(([True, True], [True, False], [False, False])):
        _condition(a, "swap", right, seed)
        _condition(b, "swap", right[::-1], seed)
    by_default = compare(a, b, condition="swap")
    assert (by_default.total.right_a, by_default.a.seed) == (2, 0)
    found = compare(a, b, condition="swap", seed=1)
    assert (found.total.only_a, found.total.only_b, found.a.seed, found.b.seed) == (1, 1, 1, 1)
    with pytest.raises(UserError, match=r"'swap' with seed 3, got seed 0, 1, 2, at .* --seed"):
        compare(a, b, condition="swap", seed=3)


def test_a_condition_with_one_run_is_that_of_seed_0(tmp_path: Path) -> None:
    a, b = (_write(tmp_path / name, [True, True]) for name in "ab")
    _condition(a, "swap", [True, False])
    _condition(b, "swap", [True, True], 0)
    _condition(b, "swap", [False, False], 1)
    found = compare(a, b, condition="swap")
    assert (found.a.seed, found.b.seed, found.total.right_b) == (None, 0, 2)
    with pytest.raises(UserError, match=r"'swap' with seed 1, got seed 0, at"):
        compare(a, b, condition="swap", seed=1)


def test_other_settings_of_answers_are_said(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", [True])
    b = _write(tmp_path / "b", [True], max_new_tokens=9, latent_steps=4)
    assert compare(a, b).decode == (("max_new_tokens", 8, 9), ("latent_steps", None, 4))
    assert compare(a, a).decode == ()


def test_other_styles_pixels_and_weights_are_said(tmp_path: Path) -> None:
    """Breaks when a difference of the questions or the pictures passes for one of the models."""
    a, b = (_write(tmp_path / name, [True]) for name in "ab")
    same = {"checkpoint": "runs/x", "rule": "native"}
    _damage(a, "results.json", _facts(**same, benchmark={"name": "hrbench", "style": "native"}, weights="1"))
    asked = {"name": "hrbench", "style": "lmms_eval"}
    _damage(b, "results.json", _facts(**same, benchmark=asked, weights="2", model={"max_pixels": 6272}))
    assert compare(a, b).others == (
        ("benchmark.style", "native", "lmms_eval"), ("weights", "1", "2"), ("model.max_pixels", None, 6272),
    )  # fmt: skip
    assert compare(a, a).others == ()
    _damage(b, "results.json", _facts(checkpoint="runs/y"))
    assert "weights" not in [key for key, _, _ in compare(a, b).others]


def test_an_answer_without_a_rule_was_read_by_that_of_records(tmp_path: Path) -> None:
    a, b = (_write(tmp_path / name, [True]) for name in "ab")
    text = (b / "predictions.jsonl").read_text().replace(', "rule": "native"', "")
    assert "rule" not in text
    (b / "predictions.jsonl").write_text(text)
    assert compare(a, b).total.records == 1


def test_a_clear_difference_in_words(tmp_path: Path) -> None:
    found = _both(tmp_path, [True] * 20 + [False] * 20, [True] * 38 + [False] * 2)
    assert found.sentence.startswith(
        "B is right more often than A on these 40 records: by +45.0 points (95 %"
    )
    assert found.sentence.endswith("p < 0.001).")
    worse = compare(tmp_path / "b", tmp_path / "a")
    assert worse.sentence.startswith("B is right less often than A on these 40 records: by -45.0 points")


def test_no_difference_in_words_says_what_could_have_been_shown(tmp_path: Path) -> None:
    found = _both(tmp_path, [True] * 30 + [False] * 30, [True] * 31 + [False] * 29)
    assert found.sentence.startswith("These 60 records do not show that A and B differ: +1.7 points (95 %")
    assert found.sentence.endswith("so many can show a difference of 10.0 points or more at best.")


@pytest.mark.parametrize(("records", "shown"), [(5, False), (6, True)])
def test_the_smallest_difference_that_can_be_shown_is_right(
    records: int, shown: bool, tmp_path: Path
) -> None:
    found = _both(tmp_path, [False] * records, [True] * records)
    assert found.total.differs is shown
    assert ("no difference at all" in found.sentence) is not shown


def test_tasks_that_differ_are_named_after_correction(tmp_path: Path) -> None:
    tasks = ["up"] * 30 + ["down"] * 30 + ["same"] * 30 + ["chance"] * 30
    a = [False] * 30 + [True] * 30 + [True] * 30 + [False] * 6 + [True] * 24
    b = [True] * 30 + [False] * 30 + [True] * 30 + [True] * 30
    found = _both(tmp_path, a, b, tasks)
    assert "; by task, after Holm's correction, B is better on up" in found.sentence
    assert " and B is worse on down." in found.sentence
    # By itself p is 2 / 2^6 = 0.031; after the correction over four tasks it is not below 0.05.
    chance = found.tasks[3]
    assert chance.p < 0.05 < chance.adjusted
    assert not chance.differs


def test_tasks_without_a_difference_are_said(tmp_path: Path) -> None:
    found = _both(tmp_path, [True, False], [True, True], ["x", "y"])
    assert found.sentence.endswith("; no task by itself shows a difference after Holm's correction.")


def test_two_equal_models_seldom_differ(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = 0
    for i in range(60):
        a, b = rng.random((2, 80)) < 0.6
        found += _both(tmp_path / str(i), a.tolist(), b.tolist()).total.differs
    assert found <= 6


def _damage(folder: Path, file: str, change: Any) -> None:
    path = folder / file
    path.write_bytes(change(path.read_bytes()))


def _facts(**changes: Any) -> Any:
    return lambda old: json.dumps({**json.loads(old), **changes}).encode()


def _row(**changes: Any) -> Any:
    """Change the first answer."""

    def change(old: bytes) -> bytes:
        first, _, rest = old.partition(b"\n")
        return json.dumps({**json.loads(first), **changes}).encode() + b"\n" + rest

    return change


PICKLE = b"cos\nsystem\n(S'touch canary'\ntR."


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("results.json", lambda _: b"", "expected strict JSON in UTF-8"),
        ("results.json", lambda _: PICKLE, "expected strict JSON in UTF-8"),
        ("results.json", lambda old: old[:-10], "expected strict JSON in UTF-8"),
        ("results.json", lambda _: b"\xff\xfe{}", "expected strict JSON in UTF-8"),
        ("results.json", lambda _: b"[1]", "expected a JSON object, got list"),
        ("results.json", lambda _: b"[" * 100_000, "got very deep nesting"),
        ("results.json", lambda old: old + b" " * 10_000_000, "expected at most 10000000 bytes, got more"),
        ("results.json", lambda _: b'{"data": {}, "data": {}}', "the key 'data' twice"),
        ("results.json", _facts(attention=float("nan")), "the number NaN"),
        ("results.json", _facts(data=None), 'expected objects "data" and "decode"'),
        ("results.json", _facts(decode=[]), 'expected objects "data" and "decode"'),
        ("results.json", _facts(data={"records": 3}), '"sha256" in "data"'),
        ("results.json", _facts(data={"records": "3", "sha256": SHA}), '"records" above 0'),
        ("results.json", _facts(data={"records": True, "sha256": SHA}), '"records" above 0'),
        ("results.json", _facts(data={"records": 0, "sha256": SHA}), '"records" above 0'),
        ("results.json", _facts(data={"records": 2, "sha256": SHA}), "each of 2 records, got more"),
        ("results.json", _facts(data={"records": 4, "sha256": SHA}), "each of 4 records, got 3"),
        ("results.json", _facts(data={"records": 3, "sha256": "f" * 64}), "results of the same data"),
        ("predictions.jsonl", lambda _: b"", "answers of 'baseline', got no answers"),
        ("predictions.jsonl", lambda _: PICKLE, "expected strict JSON in UTF-8.*row 1"),
        ("predictions.jsonl", lambda old: old[:-9], "expected strict JSON in UTF-8.*row 3"),
        ("predictions.jsonl", lambda old: old + b"x" * 10_000_001, "row 4"),
        ("predictions.jsonl", lambda old: b"7\n" + old, r'a row with a "condition", got 7, at .* row 1'),
        ("predictions.jsonl", lambda old: old.partition(b"\n")[2], "each of 3 records, got 2"),
        ("predictions.jsonl", lambda old: old + old, "answer of 'baseline' to each of 3 records, got more"),
        ("predictions.jsonl", _row(seed=True), 'a whole number of 0 or more as "seed", got True'),
        ("predictions.jsonl", _row(seed=-1), 'a whole number of 0 or more as "seed", got -1'),
        ("predictions.jsonl", _row(seed=10**400), 'a whole number of 0 or more as "seed"'),
        ("predictions.jsonl", _row(seed=1), "each of 3 records, got 2"),
        ("predictions.jsonl", _row(condition=None), 'a row with a "condition"'),
        ("predictions.jsonl", _row(id=1), 'short texts "id", "task" and "rule", got 1'),
        ("predictions.jsonl", _row(task="t" * 20_000), 'short texts "id", "task" and "rule"'),
        ("predictions.jsonl", _row(rule=["native"]), 'short texts "id", "task" and "rule"'),
        ("predictions.jsonl", _row(rule="first_letter"), "that one rule has read, got 'native' and 'first_l"
         "etter', at answer 1|that one rule has read, got 'first_letter' and 'native', at answer 1"),
        ("results.json", _facts(benchmark="blink"), "an object \"benchmark\", got 'blink'"),
        ("results.json", _facts(model=[1]), 'an object "model"'),
        ("predictions.jsonl", _row(correct="yes"), "true or false as \"correct\", got 'yes'"),
        ("predictions.jsonl", _row(correct=1), 'true or false as "correct", got 1'),
        ("predictions.jsonl", _row(id="\x1b[2Jr9"), r"expected the same record in both.*'\\x1b\[2Jr9'"),
        ("predictions.jsonl", _row(task="other"), "expected the same record in both"),
    ],
)  # fmt: skip
def test_damaged_or_other_results_are_refused_in_one_sentence(
    file: str, change: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = (_write(tmp_path / name, [True, False, True]) for name in "ab")
    _damage(b, file, change)
    for paths in ((a, b), (b, a)):
        with pytest.raises(UserError, match=message) as caught:
            compare(*paths)
        text = str(caught.value)
        assert text.startswith("expected ")
        assert "; fix: " in text
        assert text.isprintable()
        assert len(text) < 1000
    assert not (tmp_path / "canary").exists()


def test_no_results_ask_for_an_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results of the split 'test', got none.*fix: latentvr eval .*/none"):
        compare(tmp_path / "none", tmp_path)


def test_results_of_another_split_are_offered(tmp_path: Path) -> None:
    _write(tmp_path / "run" / "eval" / "validation", [True])
    with pytest.raises(UserError, match=r"got results of 'validation' alone, .* fix: --split 'validation'"):
        compare(tmp_path / "run", tmp_path / "run")


@pytest.mark.parametrize("split", ["../a", "/etc", "a/b", "..", ".", ""])
def test_a_split_is_no_path(split: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected the name of a split"):
        compare(_write(tmp_path / "a", [True]), tmp_path / "a", split=split)


def test_a_condition_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", [True])
    with pytest.raises(UserError, match=r"expected answers of 'swap', got 'baseline', at .* --condition"):
        compare(folder, folder, condition="swap")


def test_missing_predictions_are_refused(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", [True])
    (folder / "predictions.jsonl").unlink()
    with pytest.raises(UserError, match=r"expected a file, got none, at .*predictions\.jsonl"):
        compare(folder, folder)


@pytest.mark.parametrize("name", ["results.json", "predictions.jsonl"])
def test_what_is_no_file_is_not_read(name: str, tmp_path: Path) -> None:
    """A pipe or an endless device would keep the command for ever."""
    folder = _write(tmp_path / "a", [True])
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="got none"):
        compare(folder, folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match="got none"):
        compare(folder, folder)
