"""`latentvr eval --bench` through the command line: figures, refusals, and going on after a kill."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from latentvr.evaluation.kept import FILE

TASKS = ("Counting", "IQ_Test", "Jigsaw", "Relative_Reflectance", "Spatial_Relation")
SETTINGS = ("eval.batch_size=4", "decode.max_new_tokens=4", "train.device=cpu")
MODEL = "tiny-qwen2.5-vl"


def picture(seed: int) -> dict[str, bytes]:
    pixels = np.random.default_rng(seed).integers(0, 256, (56, 56 + 28 * (seed % 3), 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return {"bytes": out.getvalue()}


@pytest.fixture(scope="module")
def blink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows for each of the five tasks, a folder of parquet as on the hub."""
    root = tmp_path_factory.mktemp("blink")
    for t, task in enumerate(TASKS):
        rows = [
            {
                "idx": f"val_{task}_{i + 1}", "sub_task": task, "question": f"which one , {i} ?",
                "image_1": picture(100 * t + i), "image_2": picture(i) if i % 2 else None,
                "image_3": None, "image_4": None, "choices": ["one", "two"],
                "answer": "(A)" if i % 3 else "(B)", "explanation": "",
                "prompt": f"which one , {i} ?\n(A) one\n(B) two",
            }
            for i in range(12)
        ]  # fmt: skip
        (root / task).mkdir()
        pq.write_table(pa.Table.from_pylist(rows), root / task / "val-00000-of-00001.parquet")
    return root


def arguments(blink: Path, out: Path, *more: str) -> list[str]:
    return ["eval", MODEL, *SETTINGS, *more, "--bench", f"blink={blink}", "--out", str(out)]


def kill_midway(latentvr: Any, command: list[str], file: Path) -> None:
    """Start a command and kill it once some answers, and not all, are kept."""
    running = latentvr.start(*command)
    deadline = time.monotonic() + 60
    while not (file.is_file() and file.read_bytes().count(b"\n") > 8) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert 8 < file.read_bytes().count(b"\n") < 61


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_figures_of_a_benchmark(latentvr: Any, blink: Path, tmp_path: Path) -> None:
    done = latentvr(*arguments(blink, tmp_path), sockets=False)
    assert done.code == 0, done.err
    folder = tmp_path / "blink-native"
    facts, made = json.loads((folder / "results.json").read_text()), rows(folder)
    assert facts["benchmark"] == {
        "name": "blink", "style": "native", "rule": "native", "source": str(blink), "notes": {},
    }  # fmt: skip
    right = {task: sum(row["correct"] for row in made if row["task"] == task) for task in TASKS}
    measures = {measure["name"]: measure for measure in facts["measures"]}
    assert {task: measures[task]["correct"] for task in TASKS} == right
    micro, macro = measures["BLINK-5 (micro)"], measures["BLINK-5 (macro)"]
    assert (micro["correct"], micro["total"]) == (sum(right.values()), 60)
    assert macro["value"] == pytest.approx(100 * sum(right.values()) / 60)
    assert {row["rule"] for row in made} == {"native"}
    assert not (folder / FILE).exists()
    for text in ("BLINK-5 (micro)", "Jigsaw", f"results: {folder}"):
        assert text in done.out


def test_a_part_is_not_called_the_whole(latentvr: Any, blink: Path, tmp_path: Path) -> None:
    done = latentvr(*arguments(blink, tmp_path, "data.limit=2", "data.tasks=[Jigsaw,Counting]"))
    assert done.code == 0, done.err
    facts = json.loads((tmp_path / "blink-native" / "results.json").read_text())
    (measure,) = facts["measures"]
    assert (measure["name"], measure["total"]) == ("all answered (part)", 2)
    assert measure["correct"] == sum(row["correct"] for row in rows(tmp_path / "blink-native"))
    assert "all answered (part)" in done.out
    assert "BLINK (m" not in done.out
    assert facts["data"]["records"] == 2


@pytest.mark.parametrize("sampling", [[], ["decode.do_sample=true", "decode.temperature=1.5"]])
def test_an_evaluation_that_was_killed_goes_on(
    sampling: list[str], latentvr: Any, blink: Path, tmp_path: Path
) -> None:
    whole = latentvr(*arguments(blink, tmp_path / "whole", *sampling))
    assert whole.code == 0, whole.err
    command = arguments(blink, tmp_path / "killed", *sampling)
    folder = tmp_path / "killed" / "blink-native"
    kill_midway(latentvr, command, folder / FILE)
    kept = (folder / FILE).read_text().splitlines()
    # One kept answer is marked, and a line is cut off as by a kill in the middle of a write.
    marked = json.loads(kept[1])
    (folder / FILE).write_text(
        "\n".join([kept[0], json.dumps({**marked, "text": "kept"}), *kept[2:], '{"id'])
    )
    again = latentvr(*command)
    assert again.code == 0, again.err
    expected = {row["id"]: row for row in rows(tmp_path / "whole" / "blink-native")}
    expected[marked["id"]]["text"] = "kept"
    assert {row["id"]: row for row in rows(folder)} == expected


def test_answers_of_other_settings_are_not_mixed(latentvr: Any, blink: Path, tmp_path: Path) -> None:
    kill_midway(latentvr, arguments(blink, tmp_path), tmp_path / "blink-native" / FILE)
    done = latentvr(*arguments(blink, tmp_path, "decode.max_new_tokens=3"))
    assert done.code == 2
    assert done.err.startswith("error: expected to go on with the same decode, got others, at ")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--bench", "blnk"], "did you mean blink"),
        (["--bench", "blink=/nowhere"], "expected a folder or file of BLINK, got none, at /nowhere"),
        (["--bench", "blink,blink"], "each once"),
        (["--bench", "vsp"], "name the folder as vsp=FOLDER"),
        (["--bench", "blink", "--split", "test"], "--data and --split, got both"),
        (["--style", "native"], "expected --style with --bench"),
    ],
)
def test_what_cannot_be_measured_is_told(latentvr: Any, more: list[str], said: str) -> None:
    done = latentvr("eval", MODEL, *more)
    assert done.code == 2, done.err
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_style_that_a_benchmark_does_not_have_is_told(latentvr: Any, blink: Path, tmp_path: Path) -> None:
    done = latentvr(*arguments(blink, tmp_path), "--style", "nativ")
    assert done.code == 2
    assert "expected a style of native, lmms_eval, lvr, got 'nativ'" in done.err


def test_one_folder_has_one_evaluation_at_a_time(latentvr: Any, blink: Path, tmp_path: Path) -> None:
    folder = tmp_path / "blink-native"
    folder.mkdir()
    with (folder / FILE).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = latentvr(*arguments(blink, tmp_path))
    assert done.code == 2
    assert "got one that another evaluation writes to" in done.err
    assert latentvr(*arguments(blink, tmp_path)).code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["model.max_pixels=6272", "model.min_pixels=784"], "results of the same model, got others"),
        (
            ["data.tasks=[Jigsaw,Countng]"],
            "got 'Countng', at data.tasks; fix: name some of these; did you mean Counting?",
        ),
    ],
)
def test_results_are_not_written_over(
    latentvr: Any, blink: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    assert latentvr(*arguments(blink, tmp_path)).code == 0
    before = (tmp_path / "blink-native" / "results.json").read_bytes()
    done = latentvr(*arguments(blink, tmp_path, *more))
    assert done.code == 2
    assert said in done.err
    assert (tmp_path / "blink-native" / "results.json").read_bytes() == before
    # Another spelling of the same folder is the same benchmark.
    assert latentvr(*arguments(Path(f"{blink}/../{blink.name}"), tmp_path)).code == 0


def test_a_style_counts_text_whatever_a_method_writes_besides(
    latentvr: Any, span_model: Path, tmp_path: Path
) -> None:
    root = tmp_path / "vstar"
    (root / "direct_attributes").mkdir(parents=True)
    Image.fromarray(np.zeros((56, 56, 3), dtype=np.uint8)).save(root / "direct_attributes" / "sa_1.jpg")
    text = "which one ?\n(A) one\n(B) two\nAnswer with the option's letter from the given choices directly."
    folder = "direct_attributes"
    row = {"question_id": 0, "image": f"{folder}/sa_1.jpg", "category": folder, "label": "A", "text": text}
    (root / "test_questions.jsonl").write_text(json.dumps(row) + "\n")
    command = ["eval", str(span_model), "train.device=cpu", "decode.latent_steps=13", "--style", "lmms_eval"]
    done = latentvr(*command, "--bench", f"vstar={root}", "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    facts = json.loads((tmp_path / "out" / "vstar-lmms_eval" / "results.json").read_text())
    assert facts["decode"]["max_new_tokens"] == 16
    assert facts["longest_answer"] == 16 + 13 + 2
