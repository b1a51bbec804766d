"""`latentvr diagnose` and `latentvr compare` through the command line, on answers with and without spans."""

from __future__ import annotations

import json
import shutil
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
    # Of drawn conditions the page shows one answer of several.
    assert "swap, seed 0" in page
    assert "zeros, seed" not in page
    assert "data:image/jpeg" in page


def test_results_of_other_pixels_stay(latentvr: Any, slot_model: Path, tmp_path: Path) -> None:
    command = ["diagnose", str(slot_model), "data.toy.test=2", "--seeds", "1", "--interventions", "zeros"]
    command += ["--without", "geometry,probes", "--out", str(tmp_path)]
    assert latentvr(*command).code == 0
    done = latentvr(*command, "model.max_pixels=6272", "model.min_pixels=784")
    assert done.code == 2
    assert "expected results of the same model, got others" in done.err


def test_results_are_complete_and_strict_json(diagnosed: tuple[Path, Any]) -> None:
    folder, _ = diagnosed

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads((folder / "results.json").read_text(), parse_constant=refuse)
    keys = {"verb", "checkpoint", "weights", "model", "split", "data", "decode", "versions",
            "interventions", "seeds", "top_k", "verdict", "with_latents", "conditions", "geometry",
            "probes"}  # fmt: skip
    assert set(found) == keys
    assert found["data"]["records"] == RECORDS
    assert found["geometry"]["mass"] > 0
    shape = found["geometry"]
    assert shape["norm_ratio"] == shape["latent_norm"] / shape["embedding_norm"]
    assert {made["target"] for made in found["probes"]} >= {"answer", "box"}
    assert all(made["selectivity"] == made["score"] - made["shuffled"] for made in found["probes"])
    base = found["conditions"]["baseline"]
    assert base["accuracy"] == base["correct"] / RECORDS
    assert found["versions"]["latentvr"]


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


@pytest.fixture(scope="session")
def other_diagnosed(latentvr: Any, slot_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another model on the records of `slot_model`, evaluated as well; `swap` has two seeds."""
    folder = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(slot_model, folder, symlinks=True)
    asked = ["--interventions", "drop,swap", "--seeds", str(SEEDS), "--without", "geometry,probes"]
    done = latentvr("diagnose", str(folder), f"data.toy.test={RECORDS}", *asked)
    assert done.code == 0, done.err
    assert latentvr("eval", str(folder), f"data.toy.test={RECORDS}").code == 0
    return folder


@pytest.mark.parametrize(("condition", "seed"), [("drop", ""), ("swap", ", seed 0")])
def test_conditions_of_two_runs_are_compared(
    latentvr: Any, slot_model: Path, other_diagnosed: Path, tmp_path: Path, condition: str, seed: str
) -> None:
    few = ["--interventions", condition, "--seeds", str(SEEDS), "--without", "geometry,probes"]
    out = ["--out", str(tmp_path / "one")]
    assert latentvr("diagnose", str(slot_model), f"data.toy.test={RECORDS}", *few, *out).code == 0
    done = latentvr("compare", str(tmp_path / "one"), str(other_diagnosed), "--condition", condition)
    assert done.code == 0, done.err
    where = other_diagnosed / "diagnose" / "test"
    assert f"B: {where}, {condition}{seed}, checkpoint {other_diagnosed}" in done.out
    assert f"These {RECORDS} records do not show that A and B differ" in done.out


def test_other_records_are_not_compared(
    latentvr: Any, slot_model: Path, other_diagnosed: Path, tmp_path: Path
) -> None:
    few = ["--interventions", "drop", "--without", "geometry,probes", "--out", str(tmp_path)]
    assert latentvr("diagnose", str(slot_model), f"data.toy.test={RECORDS - 1}", *few).code == 0
    done = latentvr("compare", str(other_diagnosed), str(tmp_path))
    assert done.code == 2
    assert done.err.startswith(f"error: expected results of the same data, got {RECORDS} records")


def test_another_checkpoint_does_not_take_the_place_of_results(
    latentvr: Any, slot_model: Path, other_diagnosed: Path
) -> None:
    for verb, other in (("diagnose", "eval"), ("eval", "diagnose")):
        folder = other_diagnosed / verb / "test"
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        asked = ["--interventions", "drop,swap", "--seeds", str(SEEDS)] if verb == "diagnose" else []
        for name, arguments, got in (
            (verb, asked, "the same checkpoint, got others"),
            (other, [], f"latentvr {other}, got those of '{verb}'"),
        ):
            records = f"data.toy.test={RECORDS}"
            done = latentvr(name, str(slot_model), records, *arguments, "--out", str(folder))
            assert done.code == 2, done.err
            assert f"expected results of {got}" in done.err
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("verb", ["diagnose", "eval"])
def test_a_folder_that_cannot_hold_results_is_told(
    latentvr: Any, slot_model: Path, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "file").write_text("")
    done = latentvr(verb, str(slot_model), "--out", str(tmp_path / "file"))
    assert done.code == 2, done.err
    assert done.err.startswith("error: expected a folder that results can be written to, got")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.json").write_text('{"data": ')
    done = latentvr(verb, str(slot_model), "--out", str(tmp_path / "damaged"))
    assert done.code == 2, done.err
    assert done.err.startswith("error: expected strict JSON in UTF-8")


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
