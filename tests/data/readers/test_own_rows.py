"""The library's own rows: written and read again, and every bad row refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latentvr.data.readers import detect, open_source, read
from latentvr.data.readers.strict_json import MAX_LINE_BYTES
from latentvr.data.toy import Toy, write
from latentvr.errors import ImageError, RecordError

GOOD: dict[str, Any] = {
    "id": "a",
    "task": "t",
    "split": "train",
    "images": ["x.png"],
    "question": "which ?",
    "choices": ["red", "blue"],
    "answer": "B",
    "answer_type": "mcq",
}


def _write(folder: Path, *rows: Any) -> Path:
    path = folder / "records.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_toy_records_survive_the_file(tmp_path: Path) -> None:
    """Breaks if a field is lost or renamed between `to_row` and the reader."""
    toy = Toy(["jigsaw", "counting"], "test", 3, 0)
    source = open_source(write(toy, tmp_path))
    for made, found in zip(toy.records, source.records, strict=True):
        assert {**vars(found), "meta": None} == {**vars(made), "meta": None}
        assert json.dumps(found.meta) == json.dumps(made.meta)
        pixels = [image.tobytes() for image in source.images(found)]
        assert pixels == [image.tobytes() for image in toy.images(made)]


def test_a_missing_prompt_is_built(tmp_path: Path) -> None:
    (record,) = read(_write(tmp_path, GOOD))
    assert record.prompt == "which ?\n(A) red\n(B) blue"
    assert str(detect(tmp_path / "records.jsonl")) == "latentvr rows in jsonl"


def test_optional_fields_have_defaults(tmp_path: Path) -> None:
    row = {key: GOOD[key] for key in ("id", "task", "split", "images")} | {"prompt": "p", "answer": "yes"}
    (record,) = read(_write(tmp_path, row | {"question": "", "bboxes": None}))
    assert (record.answer_type, record.question, record.choices, record.bboxes) == ("text", "", (), ())
    assert record.meta == {}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": None}, 'expected a non-empty string "id", got none'),
        ({"id": 3}, 'expected a non-empty string "id", got 3'),
        ({"task": ""}, 'expected a non-empty string "task"'),
        ({"answer": None}, 'expected a non-empty string "answer", got none'),
        ({"answer": "  "}, 'expected a non-empty string "answer"'),
        ({"answer": 4}, 'expected a non-empty string "answer", got 4'),
        ({"answer": "C"}, "expected an answer from A to B, got 'C'"),
        ({"answer": "b"}, "expected an answer from A to B, got 'b'"),
        ({"choices": None}, 'expected 2 to 26 "choices" of an mcq, got 0'),
        ({"choices": ["x"] * 27}, "expected at most 26 choices, got 27"),
        ({"choices": ["x", 2]}, 'expected a list of strings "choices"'),
        ({"answer_type": "essay"}, "an answer type of mcq, number, text, yesno, path, math, got '"),
        ({"answer_type": "number"}, "expected a number as the answer, got 'B'"),
        ({"answer_type": "yesno"}, "expected yes or no as the answer, got 'B'"),
        ({"split": "dev"}, "expected a split of train, validation, test, got 'dev'"),
        ({"images": "x.png"}, 'expected a list of strings "images"'),
        ({"images": [1]}, 'expected a list of strings "images"'),
        ({"question": None}, 'expected a "prompt" or a "question", got neither'),
        ({"question": "half \ud800"}, 'expected Unicode text as "question"'),
        ({"prompt": "<image> <image> ?"}, "expected 1 <image> marks or none, got 2"),
        ({"anwser": "A"}, "got 'anwser', at records.jsonl row 2; fix: did you mean \"answer\""),
        ({"zzz": "A"}, 'fix: put it into "meta"'),
        ({"meta": []}, 'expected an object "meta", got []'),
        ({"bboxes": {}}, 'expected a list "bboxes"'),
        ({"bboxes": [{"image": 1, "box": [0, 0, 1, 1]}]}, "expected a box of one of 1 images, got image 1"),
        ({"bboxes": [{"image": -1, "box": [0, 0, 1, 1]}]}, "got image -1"),
        ({"bboxes": [{"image": True, "box": [0, 0, 1, 1]}]}, "expected an image number in a box"),
        ({"bboxes": [{"image": 0, "box": [0, 0, 1]}]}, "expected a box of four numbers"),
        ({"bboxes": [{"image": 0, "box": [0, 0, 1, "1"]}]}, "expected a box of four numbers"),
        ({"bboxes": [{"image": 0, "box": [0, 0, 1, 1.01]}]}, "expected a box with 0 <= x0"),
        ({"bboxes": [{"image": 0, "box": [0.5, 0, 0.5, 1]}]}, "expected a box with 0 <= x0"),
        ({"bboxes": [{"image": 0, "box": [0, 0.9, 1, 0.1]}]}, "expected a box with 0 <= x0"),
        ({"bboxes": [{"image": 0, "box": [-0.1, 0, 1, 1]}]}, "expected a box with 0 <= x0"),
        ({"bboxes": [{"image": 0, "bbox": [0, 0, 1, 1]}]}, 'expected a box with the keys "image" and "box"'),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    path = _write(tmp_path, GOOD, GOOD | {"id": "b"} | change)
    with pytest.raises(RecordError) as caught:
        read(path)
    message = str(caught.value)
    assert sentence in message
    assert "at records.jsonl row 2; fix: " in message


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("\n", "got Expecting value"),
        ('{"id": "b", "id": "c"}\n', "twice"),
        ('{"id": NaN}\n', "the number NaN"),
        ('{"id": -Infinity}\n', "the number -Infinity"),
        ('{"id": "b"', "got Expecting"),
        ("[]\n", "expected a JSON object, got list"),
        ("[" * 100_000 + "\n", "very deep nesting"),
        ('"' + "x" * MAX_LINE_BYTES + '"\n', "expected a line of at most 10000000 bytes"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, got: str) -> None:
    with pytest.raises(RecordError, match=r"at records\.jsonl row 2; fix: ") as caught:
        read(_write(tmp_path, GOOD, line))
    assert got in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    path.write_bytes(path.read_bytes() + b'{"id": "\xff"}\n')
    with pytest.raises(RecordError, match="expected strict JSON in UTF-8"):
        read(path)


def test_an_id_may_occur_once(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"got 'a' of records\.jsonl row 1 again, at records\.jsonl row 3"):
        read(_write(tmp_path, GOOD, GOOD | {"id": "b"}, GOOD))


def test_split_task_and_limit_select(tmp_path: Path) -> None:
    rows = [
        GOOD | {"id": f"{task}{part}{k}", "task": task, "split": part}
        for k in range(2)
        for task in ("t", "u")
        for part in ("train", "test")
    ]
    path = _write(tmp_path, *rows)
    assert [record.id for record in read(path, split="test")] == ["ttest0", "utest0", "ttest1", "utest1"]
    assert [record.id for record in read(path, split="test", tasks=["u"])] == ["utest0", "utest1"]
    assert [record.id for record in read(path, tasks=["u"], limit=3)] == ["utrain0", "utest0", "utrain1"]
    with pytest.raises(RecordError, match=r"got t \(test\), u \(test\), t \(train\), u \(train\)"):
        read(path, split="validation")
    with pytest.raises(RecordError, match="got none of w"):
        read(path, tasks=["t", "w"])


def test_bad_images_name_the_row(tmp_path: Path) -> None:
    source = open_source(_write(tmp_path, GOOD, GOOD | {"id": "b", "images": ["../x.png"]}))
    with pytest.raises(ImageError, match=r"expected a file below .* at records\.jsonl row 1, image 'x\.png'"):
        source.images(source.records[0])
    with pytest.raises(ImageError, match=r"records\.jsonl row 2"):
        source.images(source.records[1])


@pytest.mark.parametrize("name", ["none.jsonl", "folder", "x.csv", "empty.jsonl", "odd.jsonl", "object.json"])
def test_unknown_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.csv").write_text("a,b\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "odd.jsonl").write_text('{"x": 1}\n')
    (tmp_path / "object.json").write_text('{"x": 1}\n')
    with pytest.raises(RecordError, match=r"^expected .*; fix: "):
        detect(tmp_path / name)
