"""`latentvr diagnose` and `latentvr compare` through the command line, on answers with and without spans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latentvr.diagnostics.interventions import INTERVENTIONS, NAMES

RECORDS, SEEDS = 6, 2
PLAIN = [f"data.toy.test={RECORDS}", "--seeds", str(SEEDS)]


@pytest.fixture(scope="session")
def slot_model(latentvr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose latents stand in the prompt."""
    folder = tmp_path_factory.mktemp("slot_model") / "run"
    done = latentvr(
        "train", "recipes/livr_tiny.yaml", "model.path=tiny-qwen2.5-vl", "data.toy.train=8",
        "data.toy.validation=4", "data.toy.test=8", "stages.bottleneck.epochs=1", "stages.causal.epochs=1",
        "train.batch_size=8", f"train.output_dir={folder}",
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session", params=["slots", "spans"])
def diagnosed(
    request: pytest.FixtureRequest, latentvr: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """A folder of results, and what the command left behind; it may not ask the network for anything."""
    model = request.getfixturevalue("slot_model" if request.param == "slots" else "span_model")
    out = tmp_path_factory.mktemp(request.param) / "found"
    done = latentvr("diagnose", str(model), *PLAIN, "--out", str(out), sockets=False)
    assert done.code == 0, done.err
    return out, done


def rows(folder: Path) -> list[dict[str, Any]]:
    """Lines of `predictions.jsonl`."""
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_every_intervention_has_figures_or_a_reason(diagnosed: tuple[Path, Any]) -> None:
    folder, done = diagnosed
    conditions = json.loads((folder / "results.json").read_text())["conditions"]
    assert set(conditions) == {"baseline", *NAMES}
    for name, made in conditions.items():
        assert ("total" in made) != bool(made.get("does_not_apply")), name
        assert name in done.out
    ran = [name for name, made in conditions.items() if "total" in made]
    drawn = {each.name for each in INTERVENTIONS if each.drawn}
    wanted = {name: RECORDS * (SEEDS if name in drawn else 1) for name in ran}
    assert {name: conditions[name]["total"] for name in ran} == wanted
    written = [row["condition"] for row in rows(folder)]
    assert {name: written.count(name) for name in ran} == wanted


def test_the_identity_control_is_the_baseline_to_the_bit(diagnosed: tuple[Path, Any]) -> None:
    folder, _ = diagnosed
    by_name = {
        name: [
            (row["id"], row["text"], row["probability"]) for row in rows(folder) if row["condition"] == name
        ]
        for name in ("baseline", "identity")
    }
    assert len(by_name["baseline"]) == RECORDS
    assert by_name["baseline"] == by_name["identity"]


def test_the_verdict_is_told_with_its_rule(diagnosed: tuple[Path, Any]) -> None:
    folder, done = diagnosed
    verdict = json.loads((folder / "results.json").read_text())["verdict"]
    assert f"verdict: {verdict['sentence']}" in done.out
    assert f"rule: {verdict['rule']}" in done.out
    page = (folder / "report.html").read_text()
    assert verdict["word"] in page
    assert "data:image/jpeg" in page


def test_results_are_complete_and_strict_json(diagnosed: tuple[Path, Any]) -> None:
    folder, _ = diagnosed

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads((folder / "results.json").read_text(), parse_constant=refuse)
    keys = {"checkpoint", "split", "data", "decode", "interventions", "seeds", "top_k", "verdict",
            "conditions", "geometry", "probes"}  # fmt: skip
    assert set(found) == keys
    assert found["data"]["records"] == RECORDS
    assert found["geometry"]["mass"] > 0
    assert {made["target"] for made in found["probes"]} >= {"answer", "box"}


def test_results_of_other_records_are_not_written_over(
    latentvr: Any, slot_model: Path, tmp_path: Path
) -> None:
    few = ["--interventions", "drop", "--without", "geometry,probes", "--out", str(tmp_path)]
    assert latentvr("diagnose", str(slot_model), "data.limit=3", *few).code == 0
    before = (tmp_path / "results.json").read_bytes()
    done = latentvr("diagnose", str(slot_model), "data.limit=2", *few)
    assert done.code == 2
    assert "fix: choose another folder with --out" in done.err
    assert (tmp_path / "results.json").read_bytes() == before


def test_two_diagnoses_are_compared_and_other_records_refused(
    latentvr: Any, diagnosed: tuple[Path, Any], slot_model: Path, tmp_path: Path
) -> None:
    folder, _ = diagnosed
    other = ["diagnose", str(slot_model), "--interventions", "drop", "--without", "geometry,probes", "--out"]
    for name, limit in (("same", RECORDS), ("fewer", RECORDS - 1)):
        assert latentvr(*other, str(tmp_path / name), f"data.toy.test={limit}").code == 0
    done = latentvr("compare", str(folder), str(tmp_path / "fewer"))
    assert done.code == 2
    assert "fix" in done.err
    same = json.loads((folder / "results.json").read_text())["data"]
    here = json.loads((tmp_path / "same" / "results.json").read_text())["data"]
    done = latentvr("compare", str(folder), str(tmp_path / "same"))
    assert done.code == (0 if same == here else 2), done.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--interventions", "zeroes"], "got 'zeroes', at --interventions; fix: use these names"),
        (["--interventions", "zeroes"], "did you mean zeros?"),
        (["--without", "probe"], "got 'probe', at --without"),
        (["--seeds", "0"], "--seeds"),
        (["--top-k", "0"], "--top-k"),
        (["decode.do_sample=true"], "fix: set decode.do_sample=false"),
        (["optim.lr=1"], "the checkpoint fixes it"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_bad_input_is_a_sentence(
    latentvr: Any, slot_model: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = latentvr("diagnose", str(slot_model), "--out", str(tmp_path / "x"), *arguments)
    assert done.code == 2, done.out
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "x").exists()
