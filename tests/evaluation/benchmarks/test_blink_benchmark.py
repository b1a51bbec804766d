"""BLINK: null images, several files, prompts of each style, and its selections of sub-tasks."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as pq
import pytest

from latentvr.data.sets import blink
from latentvr.errors import ImageError, RecordError, UserError
from latentvr.evaluation.benchmarks.blink import TASKS
from latentvr.evaluation.benchmarks.predicted import PART
from latentvr.evaluation.benchmarks.registry import find

FIVE = ("Counting", "IQ_Test", "Jigsaw", "Relative_Reflectance", "Spatial_Relation")
BENCHMARK = find("blink")


def test_pictures_keep_their_order_and_null_ones_are_not_there(blink_folder, seen):
    source = BENCHMARK.load(blink_folder({"Art_Style": 2, "Jigsaw": 3}))
    assert [record.id for record in source.records] == [
        "val_Art_Style_1", "val_Art_Style_2", "val_Jigsaw_1", "val_Jigsaw_2", "val_Jigsaw_3",
    ]  # fmt: skip
    # Of the second row the third image is null; the third row lies in the second row group.
    for k, seeds in {2: (100, 101, 999), 3: (103, 104), 4: (106, 107, 999), 0: (0, 1, 999)}.items():
        record = source.records[k]
        images = source.images(record)
        assert len(record.images) == len(images) == len(seeds)
        assert [seen(image, seed) for image, seed in zip(images, seeds, strict=True)] == [True] * len(seeds)


def test_record_is_what_the_row_says(blink_folder):
    record = BENCHMARK.load(blink_folder({"Jigsaw": 2})).records[1]
    assert (record.task, record.split, record.answer, record.answer_type) == (
        "Jigsaw",
        "validation",
        "B",
        "mcq",
    )
    assert record.choices == ("the second image", "the third image")
    assert record.prompt == "Which {one}?\n(A) the second image\n(B) the third image\n"


def test_struct_without_bytes_is_no_picture(blink_folder, tmp_path):
    table = pq.read_table(blink_folder({"Jigsaw": 1}) / "Jigsaw/val-00000-of-00001.parquet")
    empty = pa.array([{"bytes": None, "path": None}], table.schema.field("image_3").type)
    table = table.set_column(table.column_names.index("image_3"), "image_3", empty)
    pq.write_table(table, tmp_path / "val-hollow.parquet")
    assert len(next(iter(blink.rows(tmp_path / "val-hollow.parquet"))).images) == 2


def test_one_file_of_all_sub_tasks_tells_the_split_by_idx(blink_folder, tmp_path):
    root = blink_folder({"Jigsaw": 2, "Counting": 1})
    blink_folder({"Jigsaw": 1}, split="test", answers=("hidden",))
    whole = pa.concat_tables([pq.read_table(file) for file in sorted(root.rglob("*.parquet"))])
    file = tmp_path / "all.parquet"
    pq.write_table(whole, file)
    assert [row.idx for row in blink.rows(file)] == ["val_Counting_1", "val_Jigsaw_1", "val_Jigsaw_2"]
    assert [row.answer for row in blink.rows(file, splits=("test",))] == [""]
    assert [row.idx for row in blink.rows(file, "Counting")] == ["val_Counting_1"]
    idx = table_with(whole, "idx", "x_")
    pq.write_table(idx, file)
    with pytest.raises(RecordError, match=r"begins with val_ or test_.*all.parquet row 1"):
        list(blink.rows(file))


def table_with(table: pa.Table, column: str, prefix: str) -> pa.Table:
    changed = compute.binary_join_element_wise(prefix, table[column], "")
    return table.set_column(table.column_names.index(column), column, changed)


def test_hidden_answers_are_refused(blink_folder):
    root = blink_folder({"Jigsaw": 2}, split="test", answers=("hidden",))
    with pytest.raises(RecordError, match=r"got Jigsaw \(test\).*answers of test are not published"):
        BENCHMARK.load(root)
    blink_folder({"Jigsaw": 1}, split="val", answers=("hidden",))
    with pytest.raises(RecordError, match=r"'hidden'.*val-00000-of-00001.parquet row 1"):
        BENCHMARK.load(root)


def test_a_sub_task_that_is_not_there_is_no_empty_list(blink_folder):
    with pytest.raises(RecordError, match=r"rows of Art_Style in val, got Jigsaw \(val\)"):
        list(blink.rows(blink_folder({"Jigsaw": 1}), "Art_Style"))


@pytest.mark.parametrize("make", ["nothing", "empty", "text", "columns"])
def test_wrong_paths_are_refused(tmp_path: Path, make: str):
    root = tmp_path / "x"
    if make != "nothing":
        root.mkdir()
    if make == "text":
        (root / "val-0.parquet").write_text("no parquet")
    if make == "columns":
        pq.write_table(pa.table({"a": [1]}), root / "val-0.parquet")
    with pytest.raises(RecordError, match=r"expected .*, got .*, at .*; fix: "):
        BENCHMARK.load(root)


def test_pictures_are_decoded_when_they_are_asked_for(blink_folder):
    root = blink_folder({"Jigsaw": 1})
    file = root / "Jigsaw/val-00000-of-00001.parquet"
    table = pq.read_table(file)
    broken = pa.array([{"bytes": b"no picture", "path": "x"}], table.schema.field("image_2").type)
    pq.write_table(table.set_column(table.column_names.index("image_2"), "image_2", broken), file)
    source = BENCHMARK.load(root)
    with pytest.raises(ImageError, match=r"Jigsaw/val-00000-of-00001.parquet row 1, image_2"):
        source.images(source.records[0])


def test_styles(blink_folder):
    record = BENCHMARK.load(blink_folder({"Jigsaw": 1})).records[0]
    native, lmms, authors = (BENCHMARK.style(name) for name in ("native", "lmms_eval", "lvr"))
    assert native.prompt(record) == record.prompt
    assert lmms.prompt(record) == (
        "Note: You only need to respond with A, B without providing any additional information.\n"
        + record.prompt
    )
    assert authors.prompt(record) == (
        "Which {one} of Jigsaw?\nOptions:\nA. the second image\nB. the third image\n"
        "\nAnswer with the option's letter from the given choices directly."
    )
    rules = [style.rule_of(record) for style in (native, lmms, authors)]
    assert rules == ["native", "first_letter", "answer_tag_first_character"]
    assert [style.max_new_tokens for style in (native, lmms, authors)] == [None, 1024, 512]


def test_unknown_style_names_those_that_there_are():
    with pytest.raises(UserError, match=r"native, lmms_eval, lvr, got 'lmms-eval'.*did you mean lmms_eval\?"):
        BENCHMARK.style("lmms-eval")


def test_micro_and_macro_of_five_sub_tasks(blink_folder, answered):
    tasks = {**dict.fromkeys(TASKS, 1), "Counting": 4, "Art_Style": 5}
    records = BENCHMARK.load(blink_folder(tasks)).records
    wrong = [i for i, record in enumerate(records) if record.task == "Counting"][:3]
    made = {m.name: m for m in BENCHMARK.measures(records, answered(records, wrong))}
    assert made["Counting"].value == pytest.approx(25.0)
    assert (made["BLINK-5 (micro)"].correct, made["BLINK-5 (micro)"].total) == (5, 8)
    assert made["BLINK-5 (macro)"].value == pytest.approx((25 + 400) / 5)
    assert (made["BLINK (micro)"].correct, made["BLINK (micro)"].total) == (18, 21)
    assert made["BLINK (macro)"].value == pytest.approx((25 + 1300) / 14)
    assert made["BLINK-3 (micro)"].total == 3
    assert PART not in made


@pytest.mark.parametrize("missing", ["sub-task", "prediction"])
def test_selections_need_all_their_sub_tasks(blink_folder, answered, missing: str):
    tasks = FIVE[1:] if missing == "sub-task" else FIVE
    records = BENCHMARK.load(blink_folder(dict.fromkeys(tasks, 2))).records
    predictions = answered(records)[: -1 if missing == "prediction" else None]
    made = {measure.name: measure for measure in BENCHMARK.measures(records, predictions)}
    # A folder with some sub-tasks is no BLINK; a sub-task of which an answer is missing has no figure either.
    assert set(made) == {*FIVE[1:]} if missing == "sub-task" else {*FIVE[:-1], PART}
    if missing == "prediction":
        assert (made[PART].correct, made[PART].total) == (9, 9)


def test_predictions_of_something_else_are_refused(blink_folder, answered):
    records = BENCHMARK.load(blink_folder({"Jigsaw": 2})).records
    predictions = answered(records)
    for wrong in (predictions[:0], predictions + predictions[:1]):
        with pytest.raises(UserError, match=r"expected at most one prediction for each record"):
            BENCHMARK.measures(records, wrong)
    with pytest.raises(UserError, match=r"'val_Jigsaw_2' of no record"):
        BENCHMARK.measures(records[:1], predictions)


def test_more_choices_than_letters_give_a_sentence(blink_folder):
    root = blink_folder({"Jigsaw": 1})
    file = root / "Jigsaw" / "val-00000-of-00001.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("choices")
    pq.write_table(table.set_column(place, "choices", pa.array([[str(k) for k in range(27)]])), file)
    with pytest.raises(RecordError, match=r"expected at most 26 choices, got 27, at .* row 1; fix: "):
        BENCHMARK.load(root)
