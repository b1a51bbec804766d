"""Results take no other's place, and a folder that cannot hold them is told before anything slow happens."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from latentvr.errors import RecipeError, UserError
from latentvr.runs.destination import require_free

FACTS = {
    "verb": "diagnose",
    "checkpoint": "runs/a",
    "split": "test",
    "data": {"records": 4, "sha256": "0" * 64},
    "decode": {"max_new_tokens": 8},
    "interventions": ["identity", "drop"],
    "seeds": 3,
    "top_k": 1,
    "versions": {"latentvr": "0.1"},
}
EVAL = {key: FACTS[key] for key in ("checkpoint", "split", "data", "decode", "versions")} | {"verb": "eval"}


def _results(folder: Path, facts: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("facts", [FACTS, EVAL])
def test_the_same_again_may_be_written(facts: dict[str, Any], tmp_path: Path) -> None:
    """Other versions of packages are no other question, nor is another name of one checkpoint."""
    named = {**facts, "versions": {"latentvr": "0.2"}, "checkpoint": str(Path("runs/b/../a").absolute())}
    require_free(_results(tmp_path, named), facts)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("checkpoint", "runs/b"),
        ("checkpoint", None),
        ("data", {"records": 4, "sha256": "1" * 64}),
        ("decode", {"max_new_tokens": 9}),
        ("interventions", ["identity"]),
        ("seeds", 2),
        ("top_k", 2),
    ],
)
def test_results_of_something_else_stay(key: str, value: Any, tmp_path: Path) -> None:
    folder = _results(tmp_path, {**FACTS, key: value})
    with pytest.raises(RecipeError, match=rf"^expected results of the same {key}, got others, at .* --out$"):
        require_free(folder, FACTS)


def test_an_evaluation_is_of_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the same checkpoint and decode, got others"):
        require_free(_results(tmp_path, {**EVAL, "checkpoint": "b", "decode": {}}), EVAL)


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (EVAL, FACTS, "expected results of latentvr diagnose, got those of 'eval'"),
        (FACTS, EVAL, "expected results of latentvr eval, got those of 'diagnose'"),
        # From before facts named their verb.
        ({key: EVAL[key] for key in ("checkpoint", "data", "decode")}, FACTS, "got those of 'eval'"),
    ],
)
def test_each_verb_has_its_own_folder(
    before: dict[str, Any], now: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        require_free(_results(tmp_path, before), now)


def test_results_from_before_verbs_are_those_of_eval(tmp_path: Path) -> None:
    require_free(_results(tmp_path, {key: EVAL[key] for key in ("checkpoint", "data", "decode")}), EVAL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": ', "expected strict JSON in UTF-8"),
        ("[1]", "expected a JSON object, got list"),
        ("", "expected strict JSON in UTF-8"),
        ('{"verb": NaN}', "the number NaN"),
    ],
)
def test_damaged_results_are_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        require_free(tmp_path, FACTS)
    assert str(caught.value).endswith("results.json; fix: choose another folder with --out")


def test_results_that_are_no_file_are_not_read(tmp_path: Path) -> None:
    """A pipe would keep the command for ever."""
    os.mkfifo(tmp_path / "results.json")
    with pytest.raises(UserError, match="expected a file, got none"):
        require_free(tmp_path, FACTS)


@pytest.mark.parametrize("place", ["file", "file/below", "link"])
def test_what_is_no_folder_is_told(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"^expected a folder that results can be written to, got: .* --out$"):
        require_free(tmp_path / place, FACTS)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("place", ["/proc", "/proc/none/below"])
def test_what_cannot_be_written_is_told(place: str) -> None:
    """Nobody can make files there, the superuser included."""
    with pytest.raises(UserError, match=f"got: .*, at '{place}'; fix: make room"):
        require_free(Path(place), FACTS)


def test_nothing_stays_behind(tmp_path: Path) -> None:
    require_free(tmp_path / "x" / "y", FACTS)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x").mkdir()
    require_free(tmp_path / "x" / "y", FACTS)
    require_free(tmp_path / "x", FACTS)
    assert [path.name for path in tmp_path.rglob("*")] == ["x"]
