"""Results beside a paper's table: what is found where, what is refused, and what is said of it.

Breaks when: a figure is taken from another task, benchmark or condition, a mean is made of some cells,
results of other items pass without a warning, or one of several results is taken silently.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latentvr.errors import UserError
from latentvr.evaluation.benchmarks.predicted import PART
from latentvr.evaluation.papers import find
from latentvr.runs.report_table import Ours, Reported, report
from latentvr.runs.report_table_text import beside, listing, of_paper

SIX = {
    "Counting": (350, 528), "Object_Localization": (100, 122), "Visual_Correspondence": (640, 700),
    "Semantic_Correspondence": (94, 139), "Functional_Correspondence": (94, 146),
    "Relative_Reflectance": (81, 134),
}  # fmt: skip


def write(
    folder: Path,
    scores: dict[str, tuple[int, int]] | None = None,
    benchmark: str = "",
    measures: list[dict[str, Any]] | None = None,
    failures: int = 0,
    style: str = "native",
    decode: dict[str, Any] | None = None,
) -> Path:
    """A results folder as `latentvr eval` leaves it, without the predictions."""
    folder.mkdir(parents=True)
    facts: dict[str, Any] = {"verb": "eval", "scores": []}
    for task, (correct, total) in (scores or {}).items():
        facts["scores"].append({"task": task, "correct": correct, "total": total, "failures": failures})
    if benchmark:
        facts["benchmark"] = {"name": benchmark, "style": style, "rule": "native", "source": "/data"}
        facts["measures"] = measures or []
    if decode is not None:
        facts["decode"] = decode
    (folder / "results.json").write_text(json.dumps(facts))
    return folder


def warnings(reported: Reported) -> list[str]:
    found = [note for note in beside(reported).notes if note.startswith("warning")]
    assert all(note.replace("*", "\\*") in beside(reported).to_markdown() for note in found)
    return found


def figures(reported: Reported) -> dict[str, Ours]:
    return {line.column.name: line.ours for line in reported.lines if line.ours is not None}


def test_a_whole_row_has_counts_intervals_differences_and_its_mean(tmp_path: Path) -> None:
    write(tmp_path / "run" / "eval" / "test", SIX)
    (made,) = report("livr-2", [f"livr={tmp_path / 'run'}"])
    found = figures(made)
    assert (found["functional"].correct, found["functional"].total) == (94, 146)
    shares = [100 * correct / total for correct, total in SIX.values()]
    assert found["mean"].value == pytest.approx(sum(shares) / 6)
    assert found["mean"].correct is None
    line = next(line for line in made.lines if line.column.name == "localization")
    assert line.difference == pytest.approx(100 * 100 / 122 - 81.97)
    text = beside(made)
    cells = {row[0]: row[1:] for row in text.rows}
    # Wilson's interval of 94 of 146 by the formula: (p + z²/2n ± z sqrt(p q/n + z²/4n²)) / (1 + z²/n).
    assert cells["Functional correspondence"] == (
        "64.38", "94/146", "64.38", "94/146", "56.3 to 71.7", "+0.00", "0.68",
    )  # fmt: skip
    assert cells["Mean"][2:] == (f"{sum(shares) / 6:.2f}", "-", "-", f"{sum(shares) / 6 - 72.37:+.2f}", "-")
    assert not [note for note in text.notes if "warning" in note or "not measured" in note]


def test_folders_of_a_row_add_up_and_a_missing_cell_leaves_no_mean(tmp_path: Path) -> None:
    tasks = list(SIX)
    given = [f"livr={write(tmp_path / task, {task: SIX[task]})}" for task in tasks]
    assert "mean" in figures(report("livr-2", given)[0])
    (made,) = report("livr-2", given[1:])
    assert set(figures(made)) == {"localization", "visual", "semantic", "functional", "reflectance"}
    assert "not measured here: Counting; there is no mean without them" in beside(made).notes


def test_rows_come_in_the_order_of_the_table(tmp_path: Path) -> None:
    write(tmp_path / "x", SIX)
    made = report("livr-2", [f"livr={tmp_path / 'x'}", f"zero-shot={tmp_path / 'x'}"])
    assert [each.row.name for each in made] == ["zero-shot", "livr"]


def test_another_number_of_items_is_warned_of(tmp_path: Path) -> None:
    write(tmp_path / "x", {"Counting": (300, 511), "Object_Localization": (100, 122)})
    (made,) = report("livr-2", [f"livr={tmp_path / 'x'}"])
    warnings = [note for note in beside(made).notes if note.startswith("warning")]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: Counting has 511 items here and 528 in the paper")


def test_of_two_results_the_one_with_the_papers_items_is_taken(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run / "eval" / "validation", {"Jigsaw": (240, 250)})
    write(run / "eval" / "blink-native", {"Jigsaw": (126, 150)}, "blink")
    (made,) = report("livr-1", [f"qwen3-vl-4b/livr={run}"])
    assert figures(made)["jigsaw"].total == 150
    assert any("blink-native (blink, native, native)" in note for note in beside(made).notes)


def test_of_two_that_fit_alike_one_has_to_be_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run / "eval" / "test", {"Jigsaw": (120, 150), "Art_Style": (90, 117)})
    write(run / "eval" / "blink-native", {"Jigsaw": (126, 150)}, "blink")
    message = r"expected one result of Jigsaw, got 2, .*; fix: name the folder of one as livr:jigsaw=FOLDER"
    with pytest.raises(UserError, match=message.replace("livr:", "qwen3-vl-4b/livr:")):
        report("livr-1", [f"qwen3-vl-4b/livr={run}"])
    named = f"qwen3-vl-4b/livr:jigsaw={run / 'eval' / 'test'}"
    (made,) = report("livr-1", [f"qwen3-vl-4b/livr={run}", named])
    assert figures(made)["jigsaw"].correct == 120
    assert figures(made)["art"].correct == 90


def test_a_column_takes_no_other_benchmarks_task_of_its_name(tmp_path: Path) -> None:
    """BLINK has a Counting and a visual correspondence of its own; LIVR's are others."""
    scores = {"Counting": (80, 120), "Visual_Correspondence": (90, 172), "Jigsaw": (79, 150)}
    write(tmp_path / "x", scores, "blink")
    (ours,) = report("livr-1", [f"qwen3-vl-4b/livr={tmp_path / 'x'}"])
    assert set(figures(ours)) == {"jigsaw"}
    (theirs,) = report("lvr-1", [f"lvr-4={tmp_path / 'x'}"])
    assert {"counting", "jigsaw"} == set(figures(theirs))
    write(tmp_path / "y", {"PixMo-Count": (350, 528)}, "pixmo_count")
    assert set(figures(report("livr-1", [f"qwen3-vl-4b/livr={tmp_path / 'y'}"])[0])) == {"counting"}
    write(tmp_path / "z", {"Counting": (350, 528)})
    with pytest.raises(UserError, match="expected results of a column of the table, got 'Counting'"):
        report("lvr-1", [f"lvr-4={tmp_path / 'z'}"])


def test_measures_are_found_by_name_of_benchmark_and_figure(tmp_path: Path) -> None:
    names = [("V*Bench", 156, 191), ("direct_attributes", 97, 115)]
    measures = [
        {"name": name, "value": 100 * correct / total, "correct": correct, "total": total, "failures": 2}
        for name, correct, total in names
    ]
    scores = {"direct_attributes": (97, 115), "relative_position": (59, 76)}
    write(tmp_path / "steps" / "vstar-lvr", scores, "vstar", measures)
    (made,) = report("lvr-3", [f"lvr={tmp_path / 'steps'}"])
    found = figures(made)
    assert {name: ours.correct for name, ours in found.items()} == {
        "vstar": 156,
        "attributes": 97,
        "relative": 59,
    }
    assert "V*: 2 of 191 answers hold none and count as wrong" in beside(made).notes
    # 97/115 is printed as 84.4: said, not hidden.
    assert any(note.startswith("* V* attributes: 97/115") for note in beside(made).notes)


def test_a_measure_without_counts_has_no_interval(tmp_path: Path) -> None:
    bare = {"name": "BLINK-5 (micro)", "value": 54.0, "correct": None, "total": None, "failures": None}
    write(tmp_path / "x", {}, "blink", [bare])
    (made,) = report("livr-4", [f"livr={tmp_path / 'x'}"])
    assert figures(made)["blink5"] == Ours(
        54.0, None, None, None, f"{tmp_path / 'x'} (blink, native, native)", "native"
    )
    cells = next(row for row in beside(made).rows if row[0] == "BLINK-5")
    assert cells == ("BLINK-5", "54.28*", "-", "54.00", "-", "-", "-0.28", "0.14")


IQ = {"IQ_Test": (45, 150), "Jigsaw": (79, 150)}


@pytest.mark.parametrize(
    ("row", "style", "decode", "expected"),
    [
        ("lvr-8", "lvr", {"latent_steps": 8, "do_sample": False}, []),
        ("lvr-8", "lvr", {"latent_steps": 4}, ["decode.latent_steps is 4 here and 8 in the row"]),
        ("lvr-8", "lvr", {}, ["the results do not say decode.latent_steps, which is 8 in the row"]),
        ("lvr-8", "lvr", None, ["the results do not say decode.latent_steps, which is 8 in the row"]),
        ("lvr-8", "native", {"latent_steps": 8}, ["asked in the style native here, in lvr in the row"]),
        ("latent-end", "lvr", {"exit": "end_vector"}, []),
        ("latent-end", "lvr", {"exit": None}, ["decode.exit is null here and end_vector in the row"]),
    ],
)
def test_results_of_other_settings_than_the_rows_are_warned_of(
    row: str, style: str, decode: dict[str, Any] | None, expected: list[str], tmp_path: Path
) -> None:
    table = "lvr-3" if row == "latent-end" else "lvr-2"
    folder = write(tmp_path / "x", IQ, "blink", style=style, decode=decode)
    (made,) = report(table, [f"{row}={folder}"])
    assert warnings(made) == [f"warning: IQ test, Jigsaw: {text}" for text in expected]


@pytest.mark.parametrize(
    ("row", "style", "warned"),
    [("livr", "native", False), ("livr", "lvr", True), ("lvr", "lvr", False), ("lvr", "native", True)],
)
def test_rows_that_one_paper_took_from_another_keep_its_style(
    row: str, style: str, warned: bool, tmp_path: Path
) -> None:
    measure = {"name": "V*Bench", "correct": 154, "total": 191, "value": 100 * 154 / 191, "failures": 0}
    decode = {"latent_steps": 16}
    folder = write(tmp_path / "x", {}, "vstar", [measure], style=style, decode=decode)
    (made,) = report("livr-4", [f"{row}={folder}"])
    assert bool(warnings(made)) is warned


def test_records_bring_their_prompts_and_have_no_style(tmp_path: Path) -> None:
    write(tmp_path / "run" / "eval" / "test", SIX, decode={"max_new_tokens": 16})
    assert warnings(report("livr-2", [f"livr={tmp_path / 'run'}"])[0]) == []


def test_a_part_is_warned_of_where_the_papers_number_is_not_known(tmp_path: Path) -> None:
    counts = {"correct": 3, "total": 4, "value": 75.0, "failures": 0}
    whole = write(tmp_path / "whole", {"SAT": (3, 4)}, "sat", [{"name": "SAT", **counts}])
    part = write(tmp_path / "part", {"SAT": (3, 4)}, "sat", [{"name": PART, **counts}])
    assert warnings(report("livr-3", [f"livr={whole}"])[0]) == []
    assert warnings(report("livr-3", [f"livr={part}"])[0]) == ["warning: SAT Val: of a part of the benchmark"]


def test_conditions_of_a_diagnosis_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "diagnose" / "validation"
    folder.mkdir(parents=True)
    conditions = {
        "baseline": {"name": "baseline", "correct": 200, "total": 250, "failed": 0},
        "drop": {"name": "drop", "correct": 180, "total": 250, "failed": 1},
        "bottleneck": {"name": "bottleneck", "does_not_apply": "no image"},
    }
    (folder / "results.json").write_text(json.dumps({"verb": "diagnose", "conditions": conditions}))
    (made,) = report("livr-probes", [f"livr={tmp_path / 'run'}"])
    assert {name: ours.correct for name, ours in figures(made).items()} == {"normal": 200, "dropped": 180}
    assert sum(note.startswith("warning") for note in beside(made).notes) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("livr", r"expected ROW=FOLDER, got 'livr', at latentvr report-table; fix: such as livr=runs/x"),
        ("livr=", "expected ROW=FOLDER"),
        ("livrr=x", r"expected a row of the table of .*, got 'livrr', .*did you mean livr"),
        ("livr:jigsaw=x", r"expected a column of the table of .*, got 'jigsaw'"),
        (
            "livr=none",
            r"expected a folder with results, got an empty one or none, at 'none'; fix: latentvr eval",
        ),
        ("livr=empty", r"expected a folder with results, got none in it"),
        ("livr=other", r"expected results of a column of the table, got 'Jigsaw', at 'other'"),
        (
            "livr:counting=six",
            r"expected results of Counting, got none, at 'six'; fix: .*--bench pixmo_count",
        ),
        ("livr=text", "expected strict JSON"),
        ("livr=lists", 'expected a list "scores"'),
        ("livr=counts", 'expected "correct" of "total"'),
        ("livr=nameless", 'expected objects with a "task" in "scores"'),
        ("livr=shape", 'expected an object "conditions"'),
    ],
)
def test_wrong_input_is_refused(
    given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("other"), {"Jigsaw": (1, 2)})
    write(Path("six"), {"Object_Localization": (1, 122)})
    write(Path("counts"), {"Counting": (3, 2)})
    Path("empty").mkdir()
    wrong = {
        "text": "{", "lists": '{"scores": 3}', "nameless": '{"scores": [{"correct": 1, "total": 2}]}',
        "shape": '{"conditions": []}',
    }  # fmt: skip
    for name, text in wrong.items():
        Path(name).mkdir()
        Path(name, "results.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        report("livr-2", [given])
    assert "\n" not in str(caught.value)


def test_names_from_results_cannot_forge_lines(tmp_path: Path) -> None:
    folder = write(tmp_path / "a\x1b[2Jb\n| x |", {"Jigsaw": (79, 150)})
    text = beside(report("livr-v1", [f"livr={folder}"])[0])
    for written in (text.to_text(), text.to_markdown()):
        assert "\x1b" not in written
        assert not [line for line in written.splitlines() if line.startswith("| x |")]


def test_the_papers_own_table_has_counts_and_marks() -> None:
    rows = {row[0]: row for row in of_paper(find("livr-6")).rows}
    assert rows["k-4"][4:] == ("81.15 (99)", "62.59 (87)", "66.40 (97)*")
    assert rows["k-4"][3] == "`livr_qwen3_4b.yaml`, `reasoner.latents=4`"
    assert "* k-4, Functional correspondence: 97/146 is 66.44" in of_paper(find("livr-6")).notes


def test_the_listing_names_all_tables() -> None:
    names = [row[0] for row in listing().rows]
    assert len(names) == len(set(names)) == 12
    for name in names:
        assert of_paper(find(name)).rows


def test_text_has_aligned_columns() -> None:
    lines = of_paper(find("livr-vsp")).to_text().splitlines()
    table = lines[2 : 4 + len(find("livr-vsp").rows)]
    assert len({len(line) for line in table}) == 1
