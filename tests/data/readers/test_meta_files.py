"""Meta files: several files of rows, of any format, as one."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from latentvr.data.check import check
from latentvr.data.readers import open_source, read
from latentvr.errors import ImageError, RecordError

OWN = {"id": "o", "task": "t", "split": "test", "images": ["x.png"], "prompt": "which ?", "answer": "red"}


def _llava(name: str, **more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>\nwhich ?"}, {"from": "gpt", "value": "red"}]
    return {"id": 0, "image": name, "conversations": turns} | more


def _json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def _png(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), shade, dtype=np.uint8)).save(path)
    return path


def _entry(data_path: object, **more: Any) -> dict[str, Any]:
    return {"ds_name": "first", "data_path": str(data_path), "image_folder": ""} | more


def _world(folder: Path) -> Path:
    """A meta file beside its annotations; pictures of the same name in two folders and in a table."""
    _png(folder / "data/pictures/coco/x.png", 10)
    _png(folder / "data/pictures/gqa/x.png", 20)
    inside = _png(folder / "data/pictures/gqa/y.png", 30).read_bytes()
    _json(folder / "notes/a/rows.json", [_llava("x.png"), _llava("x.png", id=1, dataset="other")])
    _json(folder / "notes/b/rows.json", [_llava("x.png")])
    _json(folder / "notes/own.jsonl", OWN)
    cells = [[{"bytes": inside, "path": None}], [{"bytes": None, "path": "y.png"}]]
    table = pyarrow.table({"prompt": ["p", "q"], "completion": ["r", "s"], "images": cells})
    pyarrow.parquet.write_table(table, folder / "notes/table.parquet")
    absolute = folder / "data/pictures/gqa"
    entries = [
        _entry("a/rows.json", image_folder="coco"),
        _entry("b/rows.json", ds_name="second", image_folder=str(absolute)),
        _entry(folder / "notes/own.jsonl", image_folder="coco/../gqa/"),
        _entry("table.parquet", ds_name="third", image_folder="gqa"),
    ]
    return _json(folder / "notes/meta.json", entries)


def test_all_files_are_read_with_their_own_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if files share ids or image folders, or a table's own images get a folder."""
    meta = _world(tmp_path)
    with caplog.at_level(logging.INFO):
        source = open_source(meta, tmp_path / "data/pictures")
    shades = {r.id: source.images(r)[0].getpixel((0, 0)) for r in source.records}
    expected = {"first/0": 10, "other/1": 10, "second/0": 20, "o": 20}
    expected |= {"table.parquet:1": 30, "table.parquet:2": 30}
    assert shades == {name: (shade,) * 3 for name, shade in expected.items()}
    assert [r.task for r in source.records] == ["first", "other", "second", "t", "third", "third"]
    assert [r.images[0] for r in source.records[:4]] == ["coco/x.png", "coco/x.png", "gqa/x.png", "gqa/x.png"]
    assert "meta rows in json, 4 files" in caplog.text
    assert "b/rows.json: llava rows in json" in caplog.text


def test_split_tasks_and_limit_go_over_the_whole(tmp_path: Path) -> None:
    meta, root = _world(tmp_path), tmp_path / "data/pictures"
    assert [r.id for r in read(meta, split="train", limit=3, image_root=root)] == [
        "first/0",
        "other/1",
        "second/0",
    ]
    assert [r.id for r in read(meta, split="train", tasks=["second"], image_root=root)] == ["second/0"]
    assert [r.id for r in read(meta, tasks=["t", "other"], image_root=root)] == ["other/1", "o"]


def test_check_lists_bad_rows_of_all_files(tmp_path: Path) -> None:
    """Breaks if a later file is not checked, or a sentence names the meta file in place of the file."""
    meta, root = _world(tmp_path), tmp_path / "data/pictures"
    assert check(meta, root).ok
    _json(tmp_path / "notes/b/rows.json", [_llava("none.png"), 5, _llava("x.png", id=1, split="dev")])
    report = check(meta, root)
    assert [bad.row for bad in report.bad] == [1, 2, 3]
    assert all(f"b/rows.json row {bad.row}" in bad.sentence for bad in report.bad)
    assert (report.n_rows, report.n_images) == (8, 5)
    assert str(report.format) == "meta rows in json"


def test_the_default_root_is_the_folder_of_the_meta_file(tmp_path: Path) -> None:
    _png(tmp_path / "coco/x.png", 10)
    _json(tmp_path / "rows.json", [_llava("x.png")])
    entry = {"ds_name": "first", "data_path": "rows.json", "image_folder": "coco"}
    source = open_source(_json(tmp_path / "meta.json", [entry]))
    assert source.images(source.records[0])[0].getpixel((0, 0)) == (10, 10, 10)


@pytest.mark.parametrize("folder", ["..", "coco/../..", "/", "link"])
def test_image_folders_stay_below_the_root(tmp_path: Path, folder: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path.parent)
    _json(tmp_path / "rows.json", [_llava("x.png")])
    meta = _json(tmp_path / "meta.json", [_entry("rows.json", image_folder=folder)])
    sentence = r"^expected an image folder below .*, at meta\.json row 1; fix: set data\.image_root [^\n]*$"
    with pytest.raises(RecordError, match=sentence):
        read(meta)


@pytest.mark.parametrize("name", ["../coco/x.png", "/etc/passwd", "https://example.org/x.png"])
def test_image_names_are_refused_as_written(tmp_path: Path, name: str) -> None:
    """Breaks if a folder before the name makes an absolute path or a URL look relative."""
    _png(tmp_path / "coco/x.png", 10)
    _json(tmp_path / "rows.json", [_llava(name)])
    source = open_source(_json(tmp_path / "meta.json", [_entry("rows.json", image_folder="coco")]))
    with pytest.raises(ImageError, match=r"expected a path relative .* at rows\.json row 1, image '[.h/]"):
        source.images(source.records[0])


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (_entry("meta.json"), "expected a file of rows, got the meta file 'meta.json', at meta.json row 2"),
        (_entry("other.json"), "expected a file of rows, got the meta file 'other.json', at meta.json row 2"),
        (_entry("none.json"), "expected a file or folder of records, got none, at "),
        (_entry("empty.json"), "expected at least one row, got none, at "),
        (
            _entry("rows.json", ds_name=None),
            'expected a non-empty string "ds_name", got none, at meta.json row 2',
        ),
        (
            _entry("rows.json", ds_name="a\nb"),
            "expected printable characters in \"ds_name\", got 'a\\nb', at",
        ),
        (
            _entry("rows.json", image_folder=5),
            'expected a non-empty string "image_folder", got 5, at meta.json row 2',
        ),
        (_entry("rows.json", image_folder="a\0"), 'expected printable characters in "image_folder"'),
        (
            _entry("rows.json", repeat=2),
            "expected an object of ds_name, data_path, image_folder, got ['ds_name'",
        ),
        ({"ds_name": "x"}, 'expected a non-empty string "data_path", got none, at meta.json row 2'),
        (5, "expected an object of ds_name, data_path, image_folder, got 5, at meta.json row 2"),
        (
            _entry("rows.json"),
            "expected each id once, got 'first/0' of rows.json row 1 again, at rows.json row 1",
        ),
        (_entry("bad.json", ds_name="bad"), "expected an image number in a box, got 'x', at bad.json row 1"),
    ],
)
def test_bad_meta_files_are_refused(tmp_path: Path, entry: Any, sentence: str) -> None:
    good = _entry("rows.json")
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "<answer>r</answer>"}]
    bad = _llava("x.png", conversations=turns, bboxes=[{"image": "x", "box": [0, 0, 1, 1]}])
    for name, value in (("rows", [_llava("x.png")]), ("other", [good]), ("empty", []), ("bad", [bad])):
        _json(tmp_path / f"{name}.json", value)
    with pytest.raises(RecordError, match=r"^expected .*, got [^\n]*; fix: [^\n]*$") as caught:
        read(_json(tmp_path / "meta.json", [good, entry]))
    assert sentence in str(caught.value)
