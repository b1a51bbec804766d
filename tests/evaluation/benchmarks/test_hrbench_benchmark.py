"""HR-Bench: pictures as base64 text, four orders of options, means over them."""

from __future__ import annotations

import base64
import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentvr.data.sets.lazy_tsv import LazyTsv
from latentvr.errors import RecordError
from latentvr.evaluation.benchmarks.predicted import PART
from latentvr.evaluation.benchmarks.registry import find

BENCHMARK = find("hrbench")


def write_tsv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    "form", ["hr_bench_4k.parquet", "hr_bench_4k.tsv", "data/hrbench_4k-00000-of-00001.parquet"]
)
def test_every_form_gives_the_same_records_and_pictures(tmp_path, hrbench_rows, seen, form):
    path = tmp_path / form
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".tsv":
        write_tsv(path, hrbench_rows)
    else:
        pq.write_table(pa.Table.from_pylist(hrbench_rows), path, row_group_size=3)
    source = BENCHMARK.load(tmp_path)
    assert [record.answer for record in source.records] == ["B", "A", "B", "A"]
    assert [record.task for record in source.records] == ["hrbench4k/single"] * 2 + ["hrbench4k/cross"] * 2
    assert source.records[1].prompt == (
        "What\tcolour\nis it?\nA. green\nB. blue\nC. grey\nD. red\nAnswer the option letter directly."
    )
    # Last first: rows are found again in any order.
    for k, seed in ((3, 1), (0, 0), (2, 1)):
        assert seen(source.images(source.records[k])[0], seed)
    assert BENCHMARK.style("lmms_eval").rule_of(source.records[0]) == "single_letter_or_option"


def test_a_version_in_two_forms_counts_once(tmp_path, hrbench_rows):
    pq.write_table(pa.Table.from_pylist(hrbench_rows), tmp_path / "hr_bench_4k.parquet")
    write_tsv(tmp_path / "hr_bench_4k.tsv", hrbench_rows)
    write_tsv(tmp_path / "hr_bench_8k.tsv", hrbench_rows[:2])
    versions = [record.meta["version"] for record in BENCHMARK.load(tmp_path).records]
    assert versions == ["4k"] * 4 + ["8k"] * 2
    assert len(BENCHMARK.load(tmp_path / "hr_bench_8k.tsv").records) == 2


def test_figures_are_means_over_orders_of_options(tmp_path, hrbench_rows, answered):
    # The first order has three questions, the second two: pooling would weigh them differently.
    rows = [*hrbench_rows, {**hrbench_rows[0], "index": 9}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hr_bench_4k.parquet")
    records = BENCHMARK.load(tmp_path).records
    made = {m.name: m.value for m in BENCHMARK.measures(records, answered(records, [0, 2]))}
    assert made == {
        "HR-Bench 4k single": pytest.approx((50 + 100) / 2),
        "HR-Bench 4k cross": pytest.approx((0 + 100) / 2),
        "HR-Bench 4k average": pytest.approx((100 / 3 + 100) / 2),
    }


def test_means_need_all_orders_of_all_questions(tmp_path, hrbench_rows, answered):
    """Breaks when a mean is made of orders of which one lacks a question."""
    pq.write_table(pa.Table.from_pylist(hrbench_rows), tmp_path / "hr_bench_4k.parquet")
    records = BENCHMARK.load(tmp_path).records
    made = {m.name: m for m in BENCHMARK.measures(records, answered(records)[:3])}
    assert set(made) == {"HR-Bench 4k single", PART}
    assert (made[PART].correct, made[PART].total) == (3, 3)
    made = {m.name: m for m in BENCHMARK.measures(records, answered(records, [0])[:1])}
    assert [(m.name, m.correct, m.total) for m in made.values()] == [(PART, 0, 1)]
    # Half of the categories is no average of a version.
    half = BENCHMARK.measures(records[:2], answered(records)[:2])
    assert [m.name for m in half] == ["HR-Bench 4k single"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "E"}, "the letter of an option.*row 2"),
        ({"category": "both"}, "a category of single, cross"),
        ({"C": ""}, "at least two options from A on"),
        ({"image": "no base64!"}, "base64"),
    ],
)
def test_wrong_rows_are_refused(tmp_path, hrbench_rows, change, message):
    hrbench_rows[1].update(change)
    write_tsv(tmp_path / "hr_bench_4k.tsv", hrbench_rows)
    with pytest.raises(RecordError, match=message):
        BENCHMARK.load(tmp_path).images(BENCHMARK.load(tmp_path).records[1])


def test_missing_options_at_the_end_are_left_out(tmp_path, hrbench_rows):
    table = pa.Table.from_pylist([{**hrbench_rows[0], "C": float("nan"), "D": float("nan")}])
    pq.write_table(table, tmp_path / "hr_bench_4k.parquet")
    assert BENCHMARK.load(tmp_path).records[0].choices == ("red", "green")


def test_nothing_is_no_benchmark(tmp_path):
    with pytest.raises(RecordError, match=r"hr_bench_4k.parquet"):
        BENCHMARK.load(tmp_path)


def test_long_fields_are_read_and_leave_the_modules_limit_alone(tmp_path):
    before = 131_072
    csv.field_size_limit(before)
    image = base64.b64encode(bytes(200_000)).decode()
    write_tsv(tmp_path / "x.tsv", [{"name": "äöüß", "image": image}, {"name": "b\nc", "image": image[::-1]}])
    table = LazyTsv(tmp_path / "x.tsv", "x.tsv")
    assert list(table.rows(["name"])) == [(0, {"name": "äöüß"}), (1, {"name": "b\nc"})]
    assert table.cell(1, "image") == image[::-1]
    assert table.cell(0, "image") == image
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("text", ["a\ta\n1\t2\n", "a\tb\n1\n", 'a\tb\n1\t"2\n', "a\tb\n\xff\t2\n"])
def test_broken_tables_are_refused(tmp_path, text):
    (tmp_path / "x.tsv").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecordError, match=r"expected .*x.tsv.*; fix: "):
        list(LazyTsv(tmp_path / "x.tsv", "x.tsv").rows(["a"]))


def test_rows_are_numbered_through_the_files_of_a_version(tmp_path, hrbench_rows):
    for k in range(2):
        file = tmp_path / f"hrbench_4k-{k:05d}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist(hrbench_rows[2 * k : 2 * k + 2]), file)
    source = BENCHMARK.load(tmp_path)
    assert [record.id.rpartition("/")[2] for record in source.records] == ["0001", "0002", "0003", "0004"]
    assert [record.answer for record in source.records] == ["B", "A", "B", "A"]
