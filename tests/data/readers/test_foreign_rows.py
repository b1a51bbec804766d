"""LLaVA and TRL rows, and tables with images inside."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from latentvr.data.readers import detect, open_source, read
from latentvr.data.toy import Toy
from latentvr.data.written import to_row
from latentvr.errors import ImageError, RecordError


def _turns(*speakers: str) -> list[dict[str, str]]:
    return [{"from": speaker, "value": f"said by {speaker}"} for speaker in speakers]


def _user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def _assistant(content: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": content}]


PARTS = [{"type": "image"}, {"type": "text", "text": "how many ?"}]
LLAVA: dict[str, Any] = {
    "id": 7,
    "image": "a.jpg",
    "conversations": [{"from": "human", "value": "<image>\nhow many ?"}, {"from": "gpt", "value": "4"}],
}
TRL: dict[str, Any] = {"prompt": _user(PARTS), "completion": _assistant("4"), "images": ["a.jpg"]}


def _save(folder: Path, rows: list[dict[str, Any]], name: str = "train.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows)))
    return path


def test_llava_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text_only = {"conversations": _turns("human", "gpt")}
    pair = LLAVA | {"id": "p", "image": ["a.jpg", "b.jpg"]}
    pair["conversations"] = [{"from": "human", "value": "same ?"}, {"from": "gpt", "value": "no"}]
    path = _save(tmp_path, [LLAVA, text_only, pair])
    with caplog.at_level(logging.INFO):
        one, two, three = read(path, split="validation")
    assert (one.id, one.task, one.split, one.images) == ("7", "train", "validation", ("a.jpg",))
    assert (one.prompt, one.answer, one.response) == ("<image>how many ?", "4", "")
    assert (two.id, two.images) == ("train.json:2", ())
    assert three.images == ("a.jpg", "b.jpg")
    assert "llava rows in json" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"conversations": _turns("human", "gpt", "human", "gpt")},
        {"conversations": _turns("gpt", "human")},
        {"conversations": _turns("system", "human", "gpt")},
        {"conversations": []},
        {"conversations": "hello"},
        {"conversations": [{"from": "human"}, {"from": "gpt"}]},
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": " "}]},
        {"image": ["a.jpg", "b.jpg"]},
        {"image": None},
        {"image": 5},
        {"images": ["a.jpg"]},
    ],
)
def test_bad_llava_rows_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"^expected .*, at train\.json row 2; fix: "):
        read(_save(tmp_path, [LLAVA, LLAVA | {"id": "b"} | change]))


@pytest.mark.parametrize(
    "row",
    [
        TRL,
        {"messages": _user(PARTS) + _assistant([{"type": "text", "text": "4"}]), "images": ["a.jpg"]},
        {"prompt": _user(PARTS), "solution": "4", "image": "a.jpg"},
        {"prompt": _user([{"type": "image", "text": None}, PARTS[1]]), "answer": "4", "images": ["a.jpg"]},
        {"prompt": "<image>how many ?", "completion": "4", "images": ["a.jpg"]},
    ],
)
def test_trl_rows(tmp_path: Path, row: dict[str, Any]) -> None:
    path = _save(tmp_path, [row | {"difficulty": 2}], "rows.jsonl")
    (record,) = read(path)
    assert detect(path).rows == "trl"
    assert (record.prompt, record.answer, record.images) == ("<image>how many ?", "4", ("a.jpg",))
    assert record.meta == {"difficulty": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": [{"role": "system", "content": "be brief"}, *_user(PARTS)]},
        {"prompt": _user(PARTS) + _assistant("4") + _user("and ?")},
        {"prompt": _user([{"type": "video"}])},
        {"prompt": _user([{"type": "text"}])},
        {"prompt": _user(None)},
        {"prompt": 5},
        {"completion": _user("4")},
        {"completion": None},
        {"images": []},
        {"images": ["a.jpg", "b.jpg"]},
    ],
)
def test_bad_trl_rows_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"^expected .*, at rows\.jsonl row 2; fix: "):
        read(_save(tmp_path, [TRL, TRL | change], "rows.jsonl"))


def _png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_parquet_of_own_rows_with_paths(tmp_path: Path) -> None:
    """Breaks if a table's null columns or structs differ from the JSON form."""
    toy = Toy(["counting", "jigsaw"], "test", 2, 0)
    rows = [to_row(record) for record in toy.records]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "r.parquet")
    records = read(tmp_path / "r.parquet")
    assert [vars(record) | {"meta": 0} for record in records] == [vars(r) | {"meta": 0} for r in toy.records]


@pytest.mark.parametrize("as_struct", [True, False])
def test_parquet_with_images_inside(tmp_path: Path, as_struct: bool) -> None:
    images = [[_png(10)], [_png(20), _png(30)]]
    cells = [[{"bytes": data, "path": None} for data in row] if as_struct else row for row in images]
    rows = [TRL | {"images": cells[0]}, TRL | {"prompt": _user("same ?"), "images": cells[1]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows[:1]), tmp_path / "r.parquet")
    kind = pyarrow.list_(pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}))
    column = pyarrow.array(cells, type=kind if as_struct else pyarrow.list_(pyarrow.binary()))
    table = pyarrow.table({"prompt": ["<image>x", "same ?"], "completion": ["4", "5"], "images": column})
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    source = open_source(tmp_path / "r.parquet")
    seen = [[image.getpixel((0, 0))[0] for image in source.images(record)] for record in source.records]
    assert seen == [[10], [20, 30]]


def _dataset(values: list[int], image_column: str) -> datasets.Dataset:
    pictures = [Image.fromarray(np.full((4, 6, 3), value, dtype=np.uint8)) for value in values]
    nested = image_column == "images"
    feature: Any = datasets.List(datasets.Image()) if nested else datasets.Image()
    rows = {
        "prompt": ["<image>how many ?"] * len(values),
        "completion": [str(value) for value in values],
        image_column: [[picture] for picture in pictures] if nested else pictures,
    }
    text = datasets.Value("string")
    features = datasets.Features({"prompt": text, "completion": text, image_column: feature})
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("image_column", ["image", "images"])
def test_datasets_folders(tmp_path: Path, image_column: str) -> None:
    """Breaks if rows of two splits are mixed, or images are taken from the wrong row."""
    parts = {"train": _dataset([10, 20, 30], image_column), "test": _dataset([40, 50], image_column)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "both"))
    parts["train"].save_to_disk(str(tmp_path / "one"))
    for name, split, expected in (("both", None, 5), ("both", "test", 2), ("one", "test", 3)):
        source = open_source(tmp_path / name, split=split)
        assert len(source.records) == expected
        for record in source.records:
            (image,) = source.images(record)
            assert image.getpixel((0, 0)) == (int(record.answer),) * 3
            assert split is None or record.split == split


def test_a_path_inside_a_table_obeys_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside.png").write_bytes(_png(1))
    (tmp_path / "root/in.png").write_bytes(_png(2))
    names = ["in.png", str(tmp_path / "outside.png"), "../outside.png"]
    cells = [[{"bytes": None, "path": name}] for name in names]
    table = pyarrow.table({"prompt": ["x"] * 3, "completion": ["y"] * 3, "images": cells})
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    source = open_source(tmp_path / "r.parquet", tmp_path / "root")
    assert source.images(source.records[0])[0].size == (6, 4)
    for record in source.records[1:]:
        with pytest.raises(ImageError, match="expected a path relative to the image root"):
            source.images(record)


@pytest.mark.parametrize("name", ["r.parquet", "folder"])
def test_damaged_tables_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/state.json").write_text("{}")
    (tmp_path / "r.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(RecordError, match=r"^expected a (parquet file|folder of save_to_disk), got "):
        read(tmp_path / name)
