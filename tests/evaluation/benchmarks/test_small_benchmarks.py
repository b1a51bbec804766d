"""V*Bench, MMVP, RoboSpatial-Home, SAT, VSP and PixMo-Count."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentvr.data.sets import mmvp
from latentvr.data.sets.options import parted
from latentvr.errors import ImageError, RecordError
from latentvr.evaluation.benchmarks.predicted import PART
from latentvr.evaluation.benchmarks.registry import find
from latentvr.evaluation.path import reaches_goal

ASK = "\nAnswer with the option's letter from the given choices directly."


def values(measures):
    return {m.name: (round(m.value, 2), m.correct, m.total) for m in measures}


@pytest.mark.parametrize(
    ("text", "before", "options", "after"),
    [
        ("Q?\n(A) red\n(B) blue\nAnswer.", "Q?", ("red", "blue"), "Answer."),
        ("(a) Open (b) Closed (almost)", "", ("Open", "Closed (almost)"), ""),
        (
            "Is (B) or x(A) meant? (A) one (C) two (B) three",
            "Is (B) or x(A) meant?",
            ("one (C) two", "three"),
            "",
        ),
        ("no options", "no options", (), ""),
    ],
)
def test_options_in_a_text(text, before, options, after):
    made = parted(text)
    assert (made.before, made.options, made.after) == (before, options, after)


def test_vstar(vstar_folder, seen, answered):
    benchmark = find("vstar")
    source = benchmark.load(vstar_folder())
    categories = ["direct_attributes", "direct_attributes", "relative_position"]
    assert [record.task for record in source.records] == categories
    first = source.records[0]
    assert first.choices == ("red", "pale blue", "kevlar (grey)", "pink")
    assert (first.question, first.answer) == ("What colour is the glove?", "A")
    assert all(seen(source.images(record)[0], i) for i, record in enumerate(source.records))
    assert benchmark.style("lvr").prompt(first) == first.prompt + ASK
    assert benchmark.style("lmms_eval").prompt(first) == (
        "What colour is the glove?\nA. red\nB. pale blue\nC. kevlar (grey)\nD. pink" + ASK
    )
    assert values(benchmark.measures(source.records, answered(source.records, [1]))) == {
        "V*Bench": (66.67, 2, 3), "direct_attributes": (50.0, 1, 2), "relative_position": (100.0, 1, 1),
    }  # fmt: skip
    assert values(benchmark.measures(source.records, answered(source.records)[1:])) == {
        "relative_position": (100.0, 1, 1), PART: (100.0, 2, 2),
    }  # fmt: skip


def test_vstar_without_categories_goes_by_number(vstar_folder):
    source = find("vstar").load(vstar_folder(category=None))
    assert [record.task for record in source.records][1:] == ["direct_attributes", "relative_position"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "C"}, "an answer from A to B.*row 3"),
        ({"category": "shape"}, "a category of direct_attributes, relative_position"),
        ({"question_id": "x"}, "a number"),
        ({"question_id": 0}, "each id once"),
        ({"text": "no options"}, "2 to 26"),
    ],
)
def test_vstar_refuses(vstar_folder, change, message):
    with pytest.raises(RecordError, match=message):
        find("vstar").load(vstar_folder(**change))


def test_pictures_stay_below_the_folder(vstar_folder):
    source = find("vstar").load(vstar_folder(image="../../etc/passwd"))
    with pytest.raises(ImageError, match=r'a ".." step, at test_questions.jsonl row 3'):
        source.images(source.records[2])


def test_links_of_the_hubs_cache_are_followed_and_others_are_not(vstar_folder, seen, tmp_path):
    cache = tmp_path / "datasets--craigwu--vstar_bench"
    snapshot = cache / "snapshots" / "abc123"
    shutil.copytree(vstar_folder(), snapshot)
    (cache / "blobs").mkdir()
    for name, target in {
        "direct_attributes/sa_1.jpg": cache / "blobs/1",
        "direct_attributes/sa_2.jpg": tmp_path / "2",
    }.items():
        shutil.move(snapshot / name, target)
        (snapshot / name).symlink_to(os.path.relpath(target, (snapshot / name).parent))
    source = find("vstar").load(snapshot)
    assert seen(source.images(source.records[0])[0], 0)
    with pytest.raises(ImageError, match=r"a link out of it"):
        source.images(source.records[1])


def test_mmvp_has_four_figures(mmvp_folder, seen, answered):
    benchmark = find("mmvp")
    source = benchmark.load(mmvp_folder())
    record = source.records[2]
    assert seen(source.images(record)[0], 99)
    assert record.prompt == 'Are the wings, or "sails", open? (a) Open (b) Closed (almost)'
    assert benchmark.style("lvr").prompt(record) == (
        'Are the wings, or "sails", open?\nOptions:\nA. Open B. Closed (almost)' + ASK
    )
    assert benchmark.style("lmms_eval").prompt(record) == (
        'Are the wings, or "sails", open?\nA. Open\nB. Closed (almost)' + ASK
    )
    # Right by the published answers but for the second question; the last two are swapped in the correction.
    made = benchmark.measures(source.records, answered(source.records, [1], other="A"))
    assert values(made) == {
        "MMVP single (original)": (75.0, 3, 4), "MMVP pair (original)": (50.0, 1, 2),
        "MMVP single (corrected)": (25.0, 1, 4), "MMVP pair (corrected)": (0.0, 0, 2),
    }  # fmt: skip
    part = benchmark.measures(source.records, answered(source.records, [1])[:3])
    assert values(part) == {PART: (66.67, 2, 3)}


def test_mmvp_without_a_whole_pair_has_no_pair_figure(mmvp_folder, answered):
    benchmark = find("mmvp")
    records = benchmark.load(mmvp_folder((1, 3), "ab")).records
    names = list(values(benchmark.measures(records, answered(records))))
    assert names == ["MMVP single (original)", "MMVP single (corrected)"]


def test_mmvp_knows_a_file_that_is_corrected_already(mmvp_folder):
    source = find("mmvp").load(mmvp_folder(answers="abba", index_name="lndex"))
    assert [record.answer for record in source.records] == ["A", "B", "B", "A"]
    assert [record.meta["gold_original"] for record in source.records] == ["A", "B", "A", "B"]
    assert [record.meta["gold_corrected"] for record in source.records] == ["A", "B", "B", "A"]
    assert set(mmvp.ORIGINAL) == {99, 100, 279, 280}


@pytest.mark.parametrize(
    ("keyword", "value"), [("answers", "abac"), ("index_name", "Number"), ("answers", "ab a")]
)
def test_mmvp_refuses(mmvp_folder, keyword, value):
    with pytest.raises(RecordError, match=r"expected .*Questions.csv.*; fix: "):
        find("mmvp").load(mmvp_folder(**{keyword: value}))


def test_robospatial(robospatial_folder, seen, answered):
    benchmark = find("robospatial")
    source = benchmark.load(robospatial_folder)
    records = source.records
    assert [record.task for record in records] == [
        "configuration",
        "configuration",
        "compatibility",
        "context",
    ]
    assert [record.answer for record in records][:3] == ["yes", "no", "no"]
    assert seen(source.images(records[1])[0], 11)
    native, lmms = benchmark.style("native"), benchmark.style("lmms_eval")
    assert [native.rule_of(record) for record in (records[0], records[3])] == [
        "starts_with_yes_or_no",
        "point_in_region",
    ]
    assert native.prompt(records[0]) == "Is the cup left of the plate? Answer yes or no."
    rules = [lmms.rule_of(record) for record in (records[0], records[3])]
    assert rules == ["last_line_yes_or_no", "any_json_point_in_region"]
    assert lmms.prompt(records[0]).startswith(
        "Is the cup left of the plate?\nYour task is to answer the question"
    )
    assert lmms.prompt(records[3]).startswith(
        "Where is room left of the cup?\nYour task is to identify specific"
    )
    made = values(benchmark.measures(records, answered(records, [1])))
    assert made["configuration + compatibility"] == (66.67, 2, 3)
    assert made["context"][2] == 1
    assert values(benchmark.measures(records, answered(records)[1:])) == {
        "compatibility": (100.0, 1, 1), "context": (100.0, 1, 1), PART: (100.0, 3, 3),
    }  # fmt: skip


SAT_PROBLEM = (
    "<image>Question: Did it turn?\nAnswer Choices:\nA. left\nB. right\nAnswer with the text of the option."
)


@pytest.mark.parametrize("marks", [1, 2])
def test_sat_lines_are_asked_as_written(tmp_path: Path, vstar_folder, seen, marks):
    shutil.copytree(vstar_folder() / "direct_attributes", tmp_path / "sat/images")
    row = {
        "image_paths": ["images/sa_1.jpg", "images/sa_2.jpg"][:marks],
        "problem": SAT_PROBLEM,
        "answer": "right",
    }
    (tmp_path / "sat/vigorl_sat2_val_RL.jsonl").write_text(json.dumps(row) + "\n")
    benchmark = find("sat")
    source = benchmark.load(tmp_path / "sat")
    record = source.records[0]
    # One mark for two images cannot be honoured.
    assert record.prompt == (SAT_PROBLEM if marks == 1 else SAT_PROBLEM.removeprefix("<image>"))
    assert (record.answer, record.choices) == ("right", ("left", "right"))
    assert [seen(image, i) for i, image in enumerate(source.images(record))] == [True] * marks
    assert benchmark.style("native").rule_of(record) == "option_text"


def test_sat_parquet_is_asked_as_in_its_paper(tmp_path: Path, robospatial_folder, seen, answered):
    cells = (
        pq.read_table(robospatial_folder / "data/configuration-00000-of-00001.parquet")
        .column("img")
        .to_pylist()
    )
    table = pa.table(
        {"image_bytes": [cells, cells[1:]], "question": ["Left?", "Near?"], "answers": [["yes", "no"]] * 2,
         "question_type": ["action", "depth"], "correct_answer": ["no", "yes"]}
    )  # fmt: skip
    pq.write_table(table, tmp_path / "SAT_val.parquet", row_group_size=1)
    benchmark = find("sat")
    source = benchmark.load(tmp_path)
    assert source.records[0].prompt == "Left? Choose between the following options: yes, or no."
    images = [source.images(record) for record in source.records]
    assert [len(row) for row in images] == [2, 1]
    assert [seen(images[0][0], 10), seen(images[0][1], 11), seen(images[1][0], 11)] == [True] * 3
    made = values(benchmark.measures(source.records, answered(source.records, [0])))
    assert made == {"SAT": (50.0, 1, 2), "SAT action": (0.0, 0, 1), "SAT depth": (100.0, 1, 1)}
    part = values(benchmark.measures(source.records, answered(source.records)[:1]))
    assert part == {"SAT action": (100.0, 1, 1), PART: (100.0, 1, 1)}


def test_vsp(tmp_path: Path, vstar_folder, seen, answered):
    grids = {
        "3": [[1, 0, -1], [-1, 0, -1], [-1, 0, 2]],
        "4": [[1, -1, 0, 0], [0] * 4, [0] * 4, [-1, 0, 0, 2]],
    }
    rows = []
    for seed, (level, grid) in enumerate(grids.items()):
        image = tmp_path / "vsp/imgs_test" / f"level{level}" / "img/31.png"
        image.parent.mkdir(parents=True)
        shutil.copy(vstar_folder() / f"direct_attributes/sa_{seed + 1}.jpg", image)
        rows.append(
            {"text_input": "<image>\nPlan.", "map_id": "31", "map_desc": grid,
             "image_input": f"./data/vsp_spatial_planning/imgs_test/level{level}/img/31.png"}
        )  # fmt: skip
    (tmp_path / "vsp/test_direct.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = find("vsp")
    source = benchmark.load(tmp_path / "vsp")
    assert all(reaches_goal(r.answer, r.meta["map_desc"], r.id) for r in source.records)
    assert [seen(source.images(record)[0], i) for i, record in enumerate(source.records)] == [True, True]
    assert benchmark.style("native").rule_of(source.records[0]) == "boxed_plan"
    made = values(benchmark.measures(source.records, answered(source.records, [1])))
    assert made == {"VSP": (50.0, 1, 2), "VSP level 3": (100.0, 1, 1), "VSP level 4": (0.0, 0, 1)}
    part = values(benchmark.measures(source.records, answered(source.records)[1:]))
    assert part == {"VSP level 4": (100.0, 1, 1), PART: (100.0, 1, 1)}


def test_pixmo_counts_what_is_lost(pixmo_folder, seen, answered):
    benchmark = find("pixmo_count")
    source = benchmark.load(pixmo_folder)
    assert [record.answer for record in source.records] == ["3", "12"]
    assert [record.id for record in source.records] == ["pixmo_count/0001", "pixmo_count/0004"]
    assert source.notes == {"rows": 4, "dead": 1, "changed": 1}
    made = [answered(source.records, [1])[:count] for count in (2, 1)]
    assert [values(benchmark.measures(source.records, each)) for each in made] == [
        {"PixMo-Count": (50.0, 1, 2)}, {PART: (100.0, 1, 1)},
    ]  # fmt: skip
    assert source.records[1].prompt == "How many {label} are there in the image?"
    assert seen(source.images(source.records[1])[0], 3)
    assert benchmark.style("lmms_eval").prompt(source.records[0]) == (
        "How many cats are there in the image?\nAnswer with a single number."
    )
    assert [benchmark.style(name).rule for name in ("native", "lmms_eval")] == [
        "exact_match",
        "first_integer",
    ]


def test_pixmo_with_images_inside(tmp_path: Path, robospatial_folder, seen):
    cells = pq.read_table(robospatial_folder / "data/configuration-00000-of-00001.parquet").column("img")
    table = pa.table(
        {"image": cells, "question": ["<image>\nHow many cats?", "How many?"], "answer": ["5 cats", "7"]}
    )
    file = tmp_path / "test-00000-of-00001.parquet"
    pq.write_table(table, file)
    source = find("pixmo_count").load(file)
    assert [(r.prompt, r.answer) for r in source.records] == [("How many cats?", "5"), ("How many?", "7")]
    assert seen(source.images(source.records[1])[0], 11)
    pq.write_table(table.set_column(2, "answer", pa.array(["many", "7"])), file)
    with pytest.raises(RecordError, match=r"an answer with a number in it.*row 1"):
        find("pixmo_count").load(file)
