"""Answers come out of their boxes, and every one of them can be judged."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table

from latentvr.data.builders.boxed import boxed
from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.virl39k import Virl39k, Virl39kRules
from latentvr.data.record import Record
from latentvr.errors import RecordError
from latentvr.evaluation.extract import expected_answer, is_correct

Make = Callable[[str], ModuleType]


def made(root: Path, **rules: Any) -> dict[str, Sample | Rejection]:
    b = Virl39k(root, Virl39kRules(**rules), seed=0)
    return {c.key: b.make("train", c, b.draws("train", c.key)) for c in b.candidates("train").candidates}


def test_answers_are_taken_out_of_their_boxes(make: Make, tmp_path: Path) -> None:
    make("virl39k").write(tmp_path)
    samples = made(tmp_path)
    kept = {key: s.answer for key, s in samples.items() if isinstance(s, Sample)}
    assert kept == {
        "plain": "4", "nested": r"\frac{1}{\sqrt{2}}", "braces": r"\{1, 2\}", "letter": "B",
        "unit": "12 meters", "words": "increasing function", "bare": "17", "two": r"\frac{3}{4}",
    }  # fmt: skip
    assert {key: s.rule for key, s in samples.items() if isinstance(s, Rejection)} == {
        "gone": "missing_image",
        "broken": "unreadable_image",
    }


def test_rows_without_answer_question_or_image_are_counted(make: Make, tmp_path: Path) -> None:
    make("virl39k").write(tmp_path)
    listing = Virl39k(tmp_path, Virl39kRules(), seed=0).candidates("train")
    assert listing.rejected == {"no_answer": 3, "no_image": 1, "no_question": 1}
    listing = Virl39k(tmp_path, Virl39kRules(words="reject"), seed=0).candidates("train")
    assert listing.rejected == {"no_answer": 3, "no_image": 1, "no_question": 1, "words": 1}


def test_every_answer_can_be_judged(make: Make, tmp_path: Path) -> None:
    # An answer in words with the type math would stop a run of reinforcement at its row.
    pytest.importorskip("math_verify")
    make("virl39k").write(tmp_path)
    for sample in made(tmp_path).values():
        if isinstance(sample, Sample):
            record = Record("x", "ViRL39K", "train", ("i",), "q", sample.answer, sample.answer_type)
            assert expected_answer(record)
            assert is_correct(f"<answer> {sample.answer} </answer>", record)
    types = {key: s.answer_type for key, s in made(tmp_path).items() if isinstance(s, Sample)}
    assert {key for key, kind in types.items() if kind == "text"} == {"words"}


def test_marks_go_or_stay(make: Make, tmp_path: Path) -> None:
    make("virl39k").write(tmp_path)
    dropped, kept = made(tmp_path), made(tmp_path, marks="keep")
    assert dropped["nested"].prompt == "Solve."
    assert dropped["two"].prompt == "Compare and ."
    assert kept["two"].prompt == "Compare <image> and <image>."
    assert [path.name for path in dropped["two"].images] == ["Processed-1.jpg", "Processed-2.jpg"]


def test_meta_has_category_source_and_rates(make: Make, tmp_path: Path) -> None:
    make("virl39k").write(tmp_path)
    samples = made(tmp_path)
    assert samples["plain"].meta["pass_rates"] == {"PassRate_32BTrained": 0.5}
    assert samples["two"].meta["pass_rates"] == {"PassRate_32BTrained": 0.5, "PassRate_7BBase": 0.25}
    assert samples["plain"].meta["qid"] == "plain"
    assert samples["plain"].label == "(GradeSchool) Geometric"


def test_a_missing_table_or_column_gives_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"expected 39Krelease.parquet, got none"):
        made(tmp_path)
    write_table(pyarrow.table({"question": ["?"]}), tmp_path / "39Krelease.parquet")
    with pytest.raises(
        RecordError, match=r"expected the columns answer, category, source, qid, image, got question"
    ):
        made(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{1}", ["1"]),
        (r"so \boxed{\frac{a}{b}} and \boxed{c}", [r"\frac{a}{b}", "c"]),
        (r"\boxed{\}}", [r"\}"]),
        (r"\boxed{\boxed{2}}", [r"\boxed{2}"]),
        (r"\boxed{1", None),
        ("1", []),
    ],
)
def test_boxes_are_closed_by_the_brace_that_opens_them(text: str, found: list[str] | None) -> None:
    assert boxed(text) == found


def rows_of(**changes: Any) -> list[dict[str, Any]]:
    """Questions in pairs on the same image; "q7" links the images of two pairs."""
    rows = [
        {"question": "<image>?", "answer": "1", "category": "c", "source": "s", "qid": f"q{k}",
         "image": [f"images/{k // 2}.jpg"], "PassRate_7BBase": 0.5, **changes}
        for k in range(12)
    ]  # fmt: skip
    rows[7]["image"] = ["images/3.jpg", "images/4.jpg"]
    return rows


def test_an_image_is_in_one_split(tmp_path: Path) -> None:
    write_table(pyarrow.Table.from_pylist(rows_of()), tmp_path / "39Krelease.parquet")
    for seed in range(5):
        b = Virl39k(tmp_path, Virl39kRules(validation_share=0.4), seed)
        train, validation = (
            {name for c in b.candidates(split).candidates for name in c.facts["images"]} for split in b.splits
        )
        assert train
        assert validation
        assert not train & validation
        assert train | validation == {f"images/{k}.jpg" for k in range(6)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"question": 1}, "a text as question, got 1"),
        ({"answer": 2}, "a text as answer, got 2"),
        ({"PassRate_7BBase": "x"}, "a number as PassRate_7BBase, got 'x'"),
        ({"image": [b"x"]}, "a qid and names of images, got "),
        ({"image": [5]}, "a qid and names of images, got "),
    ],
)
def test_columns_of_another_type_give_a_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    rows = rows_of(**changes)
    rows[7]["image"] = rows[0]["image"]
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "39Krelease.parquet")
    with pytest.raises(RecordError, match=f"expected {said}.* at 39Krelease.parquet row 1; fix: "):
        made(tmp_path)


def test_rates_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    rows = rows_of()
    for k, value in enumerate([float("nan"), float("inf"), None]):
        rows[k]["PassRate_7BBase"] = value
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "39Krelease.parquet")
    listed = Virl39k(tmp_path, Virl39kRules(), 0).candidates("train").candidates
    assert [c.facts["meta"]["pass_rates"] for c in listed[:4]] == [{}, {}, {}, {"PassRate_7BBase": 0.5}]
