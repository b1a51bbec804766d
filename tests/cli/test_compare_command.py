"""`latentvr compare` at the terminal: its table, its exit codes, and how light its help is."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from latentvr.cli.main import app, guarded


def _write(folder: Path, right: str, tasks: list[str], name: str = "baseline", tokens: int = 8) -> Path:
    folder.mkdir(parents=True)
    facts = {"data": {"records": len(right), "sha256": "0" * 64}, "decode": {"max_new_tokens": tokens}}
    (folder / "results.json").write_text(json.dumps(facts))
    rows = [
        {"condition": name, "id": str(i), "task": task, "correct": char == "1"}
        for i, (char, task) in enumerate(zip(right, tasks, strict=True))
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _run(*arguments: str) -> int:
    return guarded(partial(app, args=["compare", *arguments], standalone_mode=False))


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_table_has_tasks_total_and_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    tasks = ["counting"] * 20 + ["[red]jigsaw"] * 4
    a = _write(tmp_path / "a", "1" * 5 + "0" * 15 + "1101", tasks)
    b = _write(tmp_path / "b", "1" * 18 + "00" + "1001", tasks, tokens=16)
    assert _run(str(a), str(b)) == 0
    lines = _lines(capsys)
    assert max(len(line) for line in lines if "jigsaw" in line) <= 80
    assert f"A: {a}, baseline" in lines
    assert "settings differ: decode.max_new_tokens: A 8, B 16" in lines
    rows = [line.split() for line in lines]
    assert ["counting", "20", "25.0", "90.0", "+65.0", "+45.0", "to", "+85.0"] in [row[:8] for row in rows]
    assert ["[red]jigsaw", "4", "75.0", "50.0", "-25.0"] in [row[:5] for row in rows]
    assert ["all", "(micro)", "24", "33.3", "83.3", "+50.0"] in [row[:6] for row in rows]
    # 13 records that only B answers right: 2 / 2^13, and one that only A does in the other task.
    counting = next(row for row in rows if row[:1] == ["counting"])
    assert counting[8:] == ["<", "0.001", "<", "0.001", "0", "/", "13"]
    assert [row[-5:] for row in rows if row[:1] == ["[red]jigsaw"]] == [["1", "1", "1", "/", "0"]]
    # The total is no part of the correction: one p value, 2 (1 + 14) / 2^14.
    assert [row[-5:] for row in rows if row[:1] == ["all"]] == [["+70.8", "0.00183", "1", "/", "13"]]
    assert lines[-1].startswith("B is right more often than A on these 24 records: by +50.0 points")


def test_nothing_is_cut_at_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    tasks = ["semantic correspondence"] * 1200 + ["x"] * 1200
    a = _write(tmp_path / "a", "1" * 2400, tasks)
    b = _write(tmp_path / "b", "0" * 2400, tasks)
    assert _run(str(a), str(b)) == 0
    text = capsys.readouterr().out
    assert "…" not in text
    assert "-100.0 to -100.0" in text
    assert "1200 / 0" in text


def test_text_of_the_folder_does_not_reach_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = _write(tmp_path / "a", "10", ["\x1b[2Jclear\nforged", "y"])
    facts = json.loads((a / "results.json").read_text())
    (a / "results.json").write_text(json.dumps({**facts, "checkpoint": "\x1b]0;title\x07x"}))
    b = _write(tmp_path / "b", "01", ["\x1b[2Jclear\nforged", "y"])
    assert _run(str(a), str(b)) == 0
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\x1b]0" not in out
    assert not [line for line in out.splitlines() if line.startswith("forged")]


def test_the_seed_that_is_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a condition with several runs; others have none to name."""
    a, b = (_write(tmp_path / name, "10", ["x", "x"], "swap") for name in "ab")
    rows = [json.loads(line) for line in (b / "predictions.jsonl").read_text().splitlines()]
    drawn = [{**row, "seed": seed, "correct": not seed} for seed in (0, 1) for row in rows]
    (b / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in drawn))
    assert _run(str(a), str(b), "--condition", "swap") == 0
    assert _lines(capsys)[:2] == [f"A: {a}, swap", f"B: {b}, swap, seed 0"]
    assert _run(str(b), str(b), "--condition", "swap", "--seed", "1") == 0
    lines = _lines(capsys)
    assert lines[:2] == [f"A: {b}, swap, seed 1", f"B: {b}, swap, seed 1"]
    assert ["x", "2", "0.0", "0.0"] in [line.split()[:4] for line in lines]


def test_one_task_needs_no_total(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = _write(tmp_path / "a", "10", ["x", "x"])
    assert _run(str(a), str(a)) == 0
    assert "micro" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["none", "a"],
            "error: expected results of the split 'test', got none, at 'none'; fix: latentvr eval",
        ),
        (["a", "a", "--condition", "swap"], "error: expected answers of 'swap', got 'baseline'"),
        (["a", "a", "--seed", "2"], "error: expected answers of 'baseline' with seed 2, got seed 0"),
        (["a", "a", "--split", "../x"], "error: expected the name of a split"),
        (["a", "other"], "error: expected results of the same data, got 2 records"),
        (["a", "damaged"], "error: expected strict JSON"),
    ],
)
def test_wrong_input_is_one_sentence_and_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(Path("a"), "10", ["x", "x"])
    _write(Path("other"), "101", ["x"] * 3)
    (_write(Path("damaged"), "10", ["x", "x"]) / "results.json").write_text("{")
    assert _run(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "b", "c"], ["a", "b", "--no-such"]])
def test_wrong_usage_of_compare_is_2(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "latentvr", "compare", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_of_compare_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom latentvr.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as leave:\n"
        "    heavy = ('torch', 'transformers', 'numpy', 'PIL', 'yaml')\n"
        "    print(leave.code, [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
