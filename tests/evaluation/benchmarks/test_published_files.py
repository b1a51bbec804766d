"""Benchmarks in several files, and files with marks, blank lines and endless numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentvr.data.sets import mmvp
from latentvr.errors import RecordError
from latentvr.evaluation.benchmarks.registry import find


def test_robospatial_numbers_the_rows_of_a_split_through_its_files(robospatial_folder, seen):
    folder = robospatial_folder / "data"
    table = pq.read_table(folder / "configuration-00000-of-00001.parquet")
    (folder / "configuration-00000-of-00001.parquet").unlink()
    for k in range(2):
        pq.write_table(table.slice(k, 1), folder / f"configuration-{k:05d}-of-00002.parquet")
    source = find("robospatial").load(robospatial_folder)
    assert [record.id for record in source.records] == [
        "robospatial/configuration/0001",
        "robospatial/configuration/0002",
        "robospatial/compatibility/0001",
        "robospatial/context/0001",
    ]
    assert all(seen(source.images(source.records[k])[0], 10 + k) for k in range(2))


def test_pixmo_numbers_rows_through_its_files(tmp_path: Path, robospatial_folder, seen):
    cells = pq.read_table(robospatial_folder / "data/configuration-00000-of-00001.parquet").column("img")
    table = pa.table({"image": cells, "question": ["How many cats?", "How many?"], "answer": ["5", "7"]})
    for k in range(2):
        pq.write_table(table.slice(k, 1), tmp_path / f"test-{k:05d}-of-00002.parquet")
    source = find("pixmo_count").load(tmp_path)
    assert [(r.id, r.answer) for r in source.records] == [
        ("pixmo_count/0001", "5"),
        ("pixmo_count/0002", "7"),
    ]
    assert all(seen(source.images(source.records[k])[0], 10 + k) for k in range(2))


def test_endless_numbers_give_a_sentence(tmp_path: Path):
    # Python refuses to read a number of more than 4300 digits.
    row = {"question_id": "9" * 5000, "image": "a.jpg", "text": "Q (A) x (B) y", "label": "A"}
    (tmp_path / "test_questions.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RecordError, match=r'expected a number "question_id", got '):
        find("vstar").load(tmp_path)
    text = f"Index,Question,Options,Correct Answer\n{'9' * 5000},Q,(a) x (b) y,(a)\n"
    (tmp_path / mmvp.FILE).write_text(text)
    with pytest.raises(RecordError, match=r"expected an Index from 1 on, got "):
        find("mmvp").load(tmp_path)


def test_vstar_with_a_mark_and_a_blank_line(tmp_path: Path):
    row = {"question_id": 1, "image": "a.jpg", "text": "Q (A) x (B) y", "label": "A"}
    (tmp_path / "test_questions.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(row).encode() + b"\n\n")
    assert [record.answer for record in find("vstar").load(tmp_path).records] == ["A"]
