"""Records as a file of VLMEvalKit, read back here as VLMEvalKit reads it."""

from __future__ import annotations

import ast
import base64
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from latentvr.data.prompt import build_prompt
from latentvr.data.record import Record
from latentvr.data.toy import Toy
from latentvr.errors import RecordError, SaveError
from latentvr.integrations.tsv import bare_question, write_tsv


class _Source:
    """Records with a picture of its own for every name."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def images(self, record: Record) -> list[Image.Image]:
        seeds = [zlib.crc32(name.encode()) for name in record.images]
        return [
            Image.fromarray(np.random.default_rng(s).integers(0, 255, (9, 7, 3), np.uint8)) for s in seeds
        ]

    def where(self, record: Record) -> str:
        return f"record {record.id!r}"


def _record(number: int, choices: Sequence[str] = ("left", "right"), images: int = 1, **other: Any) -> Record:
    names = tuple(f"{number}_{i}" for i in range(images))
    kind = "mcq" if choices else "number"
    fields = {"question": f'Which "{number}"?\twhere\nis it?', "choices": tuple(choices), "answer_type": kind}
    made = Record(f"r{number}", "Jigsaw", "test", names, "", "A" if choices else "9", **fields)  # type: ignore[arg-type]
    return replace(made, prompt=build_prompt(made.question, choices), **other)


def _listed(cell: Any) -> list[str]:
    """What VLMEvalKit makes of a cell: a list where it is written as one."""
    text = str(cell)
    return [str(x) for x in ast.literal_eval(text)] if text[0] == "[" and text[-1] == "]" else [text]


def _pixels(image: Image.Image) -> bytes:
    return image.convert("RGB").tobytes()


@pytest.mark.parametrize("images", ["inside", "beside"])
def test_texts_and_pictures_come_back(tmp_path: Path, images: Any) -> None:
    """Several images stay apart, in order and without loss."""
    source = _Source([_record(0), _record(1, images=3), _record(2, ("up", "down"), answer="(B)")])
    file = tmp_path / "lmu" / "Own.tsv"
    assert write_tsv(source, file, images) == 3
    frame = pandas.read_csv(file, sep="\t")
    assert list(frame["index"]) == [0, 1, 2]
    assert [list(frame[name]) for name in ("A", "B", "answer", "category")] == [
        ["left", "left", "up"], ["right", "right", "down"], ["A", "A", "B"], ["Jigsaw"] * 3,
    ]  # fmt: skip
    for record, (_, row) in zip(source.records, frame.iterrows(), strict=True):
        assert row["question"] == record.question
        if images == "inside":
            # VLMEvalKit takes a cell of 64 characters or less for the index of another row.
            assert all(len(text) > 64 for text in _listed(row["image"]))
            found = [Image.open(io.BytesIO(base64.b64decode(text))) for text in _listed(row["image"])]
            assert len(_listed(row["image_path"])) == len(found)
        else:
            assert "image" not in frame
            found = [Image.open(path) for path in _listed(row["image_path"])]
        assert [_pixels(one) for one in found] == [_pixels(one) for one in source.images(record)]


def test_a_picture_that_changes_has_another_name(tmp_path: Path) -> None:
    """VLMEvalKit keeps unpacked pictures by name: an old one must not stand for a new one."""
    names = []
    for number in (0, 1):
        write_tsv(_Source([replace(_record(number), id="same")]), tmp_path / "Own.tsv")
        names.append(pandas.read_csv(tmp_path / "Own.tsv", sep="\t")["image_path"][0])
    assert names[0] != names[1]
    assert all(name.endswith(".png") for name in names)  # a JPEG would lose pixels


def test_questions_without_choices_have_no_columns_for_them(tmp_path: Path) -> None:
    write_tsv(_Source([_record(0, ()), _record(1, ())]), tmp_path / "Own.tsv")
    frame = pandas.read_csv(tmp_path / "Own.tsv", sep="\t")
    assert "A" not in frame
    assert list(frame["answer"]) == [9, 9]


def test_toy_records_of_every_kind_are_written(tmp_path: Path) -> None:
    source = Toy(("jigsaw", "correspondence"), "test", 4, seed=1)
    assert write_tsv(source, tmp_path / "Toy.tsv") == 8
    frame = pandas.read_csv(tmp_path / "Toy.tsv", sep="\t")
    assert sorted(set(frame["category"])) == ["correspondence", "jigsaw"]
    assert not frame["question"].str.contains(r"\(A\)").any()


@pytest.mark.parametrize(
    ("prompt", "bare"),
    [
        ("<image><image>\nWhich?\n(A) x\n(B) y", "Which?"),
        ("Is it in <image> or <image>?\n(A) x\n(B) y", "Is it in <image> or <image>?"),
        ("Which?\nA. x\nB. y (1)", "Which?\nA. x\nB. y (1)"),
        ("Which?\n A. x\n\n  B. y", "Which?"),
        ("<image> and <image>: which?\nA. x \nB. y\nAnswer.", "<image> and <image>: which?"),
        ("Which? Choose.\n(A) x (B) y", "Which? Choose."),
        ("A. Lincoln signed which paper?\n(A) x\n(B) y", "A. Lincoln signed which paper?"),
        ("Look.\nA. x is left of whom?\nA. x\nB. y", "Look.\nA. x is left of whom?"),
        ("(A) is marked. Which?", "(A) is marked. Which?"),
        ("Which?\n(A) x", "Which?\n(A) x"),
        ("Which?\n(A) x\n(B) yes", "Which?\n(A) x\n(B) yes"),
    ],
)
def test_a_question_is_cut_out_of_its_prompt(prompt: str, bare: str) -> None:
    """VLMEvalKit writes the options itself and puts all images first.

    Breaks when a line of the question is taken for an option, or an option for the question.
    """
    assert bare_question(replace(_record(0, ("x", "y")), question="", prompt=prompt)) == bare


@pytest.mark.parametrize("question", ["A. Lincoln signed which paper?", "Look.\n(A) left\n(B) right\nTrue?"])
def test_a_question_that_is_given_is_not_cut(question: str) -> None:
    assert bare_question(_record(0, question=question)) == question


@pytest.mark.parametrize("prompt", ["<image>\n(A) left\n(B) right", "<image> <image>", " \n"])
def test_an_empty_question_is_refused(prompt: str) -> None:
    with pytest.raises(RecordError, match=r"expected a question, got none beside .*, at record 'r0'; fix: "):
        bare_question(replace(_record(0), question="", prompt=prompt))


@pytest.mark.parametrize(
    ("records", "error"),
    [
        ([], "expected records, got none"),
        ([_record(0), _record(1, ())], "expected records that all have choices, or none that has, got both"),
        ([_record(0, images=0)], "expected at least one image, got none, at record 'r0'"),
        ([_record(0, ("None", "one"))], "got 'None', which it reads as '', at record 'r0', column A"),
        ([_record(0, ("0.50", "2"))], "got '0.50', which it reads as '0.5', at record 'r0', column A"),
        # A column of numbers with gaps is one of 3.0 and 4.0.
        ([_record(0, ("1", "2", "3")), _record(1, ("1", "2"))], "got '3', which it reads as '3.0'.*column C"),
    ],
)
def test_what_pandas_would_change_is_refused(tmp_path: Path, records: list[Record], error: str) -> None:
    with pytest.raises(RecordError, match=error):
        write_tsv(_Source(records), tmp_path / "Own.tsv")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match=r"expected to write Own.tsv"):
        write_tsv(_Source([_record(0)]), tmp_path / "file" / "Own.tsv")
