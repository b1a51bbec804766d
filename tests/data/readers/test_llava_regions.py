"""LLaVA rows with regions, answer tags and the names that published files use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from latentvr.data.readers import read
from latentvr.data.record import Box, Record
from latentvr.data.written import to_row
from latentvr.errors import RecordError

ROOT = Path(__file__).parents[3]
GOLDEN = Path(os.environ.get("LATENTVR_GOLDEN", ROOT / "../shared/golden/lvr")) / "sft_data.json"
LEFT = [0, 0, 0.5, 1]
RIGHT = [0.5, 0, 1, 1]


def _row(human: str = "<image>\nwhich ?", gpt: str = "<lvr>\n<answer> red </answer>", **more: Any) -> Any:
    turns = [{"from": "human", "value": human}, {"from": "gpt", "value": gpt}]
    return {"question_id": 0, "image": ["a.png"], "conversations": turns, "bboxes": [LEFT]} | more


def _read(folder: Path, *rows: Any, **how: Any) -> list[Record]:
    (folder / "train.json").write_text(json.dumps(rows))
    return read(folder / "train.json", **how)


@pytest.mark.skipif(not GOLDEN.is_file(), reason=f"the published rows are not at {GOLDEN}")
def test_published_rows() -> None:
    """Breaks if the tags, the newline of the image mark, the ids or the boxes are read otherwise."""
    records = read(GOLDEN)
    first = records[0]
    assert [record.id for record in records] == ["toy/0", "toy/1", "toy/2"]
    assert [record.answer for record in records] == ["red", "blue", "green"]
    assert [len(record.bboxes) for record in records] == [1, 1, 1]
    assert (first.prompt, first.response) == (
        "<image>What is the color?",
        "<lvr>\n<answer> red </answer>",
    )
    assert (first.task, first.split, first.images) == ("toy", "train", ("gold_0.png",))
    assert first.bboxes == (Box(0, (0.3, 0.2, 0.6, 0.55)),)
    assert first.meta == {}


def test_a_second_stage_row_without_image_marks(tmp_path: Path) -> None:
    row = _row("As shown, …", "<answer>4</answer>", dataset="V", id="abc", image="V/a.png", bboxes=None)
    (record,) = _read(tmp_path, row)
    assert (record.id, record.task, record.images) == ("V/abc", "V", ("V/a.png",))
    assert (record.prompt, record.answer, record.response) == ("As shown, …", "4", "<answer>4</answer>")
    assert record.meta == {"question_id": 0}


@pytest.mark.parametrize(
    ("turn", "answer", "response"),
    [
        ("<answer> a </answer> no, <answer>\nb\nc </answer>.", "b\nc", True),
        ("<answer> a <answer> b </answer>", "b", True),
        ("<answer> a </answer> </answer>", "a", True),
        ("</answer> a <answer>", "</answer> a <answer>", False),
        (" plain text ", " plain text ", False),
    ],
)
def test_the_last_pair_of_tags_holds_the_answer(
    tmp_path: Path, turn: str, answer: str, response: bool
) -> None:
    (record,) = _read(tmp_path, _row(gpt=turn, bboxes=[]))
    assert (record.answer, record.response) == (answer, turn if response else "")


@pytest.mark.parametrize(
    ("human", "prompt"),
    [
        ("<image>\nQ\nR", "<image>Q\nR"),
        ("<image>\n\nQ", "<image>\nQ"),
        ("look\n<image>\nQ", "look\n<image>Q"),
        ("Q\n", "Q\n"),
    ],
)
def test_one_newline_belongs_to_the_mark(tmp_path: Path, human: str, prompt: str) -> None:
    (record,) = _read(tmp_path, _row(human))
    assert record.prompt == prompt


def test_boxes_of_one_and_of_several_images(tmp_path: Path) -> None:
    """Plain boxes pair up with images only where their numbers agree; numbered boxes are free."""
    two = ["a.png", "b.png"]
    numbered = [{"image": 1, "box": LEFT}, {"image": 1, "box": RIGHT}, {"image": 0, "box": LEFT}]
    one, paired, free = _read(
        tmp_path,
        _row(bboxes=[LEFT, RIGHT]),
        _row("which ?", question_id=1, image=two, bboxes=[LEFT, RIGHT]),
        _row("which ?", question_id=2, image=two, bboxes=numbered),
    )
    assert one.bboxes == (Box(0, (0, 0, 0.5, 1)), Box(0, (0.5, 0, 1, 1)))
    assert paired.bboxes == (Box(0, (0, 0, 0.5, 1)), Box(1, (0.5, 0, 1, 1)))
    assert [box.image for box in free.bboxes] == [1, 1, 0]


def test_own_rows_keep_plain_boxes_on_the_first_image(tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "id": "a",
        "task": "t",
        "split": "train",
        "images": ["a.png", "b.png"],
        "prompt": "which ?",
    }
    own |= {"answer": "red", "response": "<answer> red </answer>", "bboxes": [LEFT, RIGHT]}
    (record,) = _read(tmp_path, own)
    assert [box.image for box in record.bboxes] == [0, 0]
    assert record.response == to_row(record)["response"] == "<answer> red </answer>"


def test_names_of_published_rows(tmp_path: Path) -> None:
    """Breaks if ids of two data sets clash, or an own id or task gives way to a published name."""
    records = _read(
        tmp_path,
        _row(dataset="flickr", split="val"),
        _row(dataset="gqa", split="test"),
        _row(dataset="gqa", question_id="x", task="colours"),
        _row(id=7, question_id=0),
        _row(question_id=None),
        split="train",
        tasks=["colours", "train"],
    )
    assert [(r.id, r.task) for r in records] == [
        ("gqa/x", "colours"),
        ("7", "train"),
        ("train.json:5", "train"),
    ]
    (record,) = _read(tmp_path, _row(dataset="flickr", split="val"), split="validation")
    assert (record.id, record.task, record.split) == ("flickr/0", "flickr", "validation")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gpt": "<lvr>\nred"}, "expected a gpt turn with <answer> … </answer> beside bboxes, got '<lvr>"),
        ({"gpt": "<lvr>\n<answer> </answer>"}, "expected a non-empty answer, got none"),
        ({"bboxes": [[0.5, 0, 0.5, 1]]}, "expected a box with 0 <= x0 < x1 <= 1"),
        ({"bboxes": [[0, 0.2, 1, 0.2]]}, "expected a box with 0 <= x0 < x1 <= 1"),
        ({"bboxes": [[10, 20, 300, 400]]}, "expected a box with 0 <= x0 < x1 <= 1"),
        ({"bboxes": [LEFT, [0, 0, 1.001, 1]]}, "expected a box with 0 <= x0 < x1 <= 1"),
        ({"bboxes": [[0, 0, 1]]}, "expected a box of four numbers"),
        ({"bboxes": LEFT}, "expected a box of four numbers, got 0"),
        ({"bboxes": [{"image": 1, "box": LEFT}]}, "expected a box of one of 1 images, got image 1"),
        ({"image": [], "human": "which ?"}, "expected a box of one of 0 images, got image 0"),
        (
            {"image": ["a", "b"], "human": "which ?"},
            "expected one plain box for each of 2 images, or numbered",
        ),
        (
            {"image": ["a", "b"], "human": "which ?", "bboxes": [LEFT, {"image": 1, "box": LEFT}]},
            "got 1 plain boxes and 1 others",
        ),
        (
            {"image": ["a", "b"], "human": "which ?", "bboxes": [LEFT, LEFT, {"image": 1, "box": LEFT}]},
            "got 2 plain boxes and 1 others",
        ),
        ({"question_id": True}, 'expected a non-empty string "question_id", got True'),
        ({"question_id": 1.5}, 'expected a non-empty string "question_id", got 1.5'),
        ({"dataset": 3}, 'expected a non-empty string "dataset", got 3'),
        ({"split": "dev"}, "expected a split of train, validation, test, got 'dev'"),
        ({"question_id": 0}, "expected each id once, got '0' of train.json row 1 again"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecordError, match=r"^expected .*, at train\.json row 2; fix: [^\n]*$") as caught:
        _read(tmp_path, _row(), _row(**{"question_id": 1} | change))
    assert sentence in str(caught.value)
