"""Options are shuffled with their answer, and every form of SAT keeps its images and its words."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table

from latentvr.data.builders.builder import Listing, Rejection, Sample
from latentvr.data.builders.tasks.sat import Sat, SatRules
from latentvr.data.record import Record
from latentvr.data.sets import sat
from latentvr.errors import RecordError, UserError
from latentvr.evaluation.extract import is_correct

Make = Callable[[str], ModuleType]


def made(root: Path, split: str = "train", seed: int = 0, **rules: Any) -> dict[str, Sample | Rejection]:
    b = Sat(root, SatRules(**rules), seed)
    return {c.key: b.make(split, c, b.draws(split, c.key)) for c in b.candidates(split).candidates}


@pytest.mark.parametrize("column", ["image_bytes", "images"])
def test_parquet_rows_have_their_own_images(make: Make, tmp_path: Path, column: str) -> None:
    # Rows are read from the middle of row groups: an index that is off by one gives another row's images.
    make("sat").write_parquet(tmp_path / "SAT_train.parquet", column)
    samples = made(tmp_path)
    for number in (1, 2, 3):
        sample = samples[f"{number:06d}"]
        assert list(sample.images) == make("sat").row_images(number, make("sat").ROWS[number - 1][3])
    rows = list(sat.rows(tmp_path / "SAT_train.parquet"))
    assert [len(row.images) for row in rows] == [1, 2, 2, 1, 1, 1, 0, 1]
    assert samples["000007"] == Rejection("no_image")
    assert samples["000008"] == Rejection("unreadable_image")


def test_parquet_rows_that_cannot_be_asked_are_counted(make: Make, tmp_path: Path) -> None:
    make("sat").write_parquet(tmp_path / "data" / "SAT_train.parquet")
    listing = Sat(tmp_path, SatRules(), 0).candidates("train")
    assert listing.rejected == {"answer_is_no_choice": 1, "choice_twice": 1, "no_choices": 1}


def test_the_authors_wording_lists_all_options(make: Make, tmp_path: Path) -> None:
    make("sat").write_parquet(tmp_path / "SAT_train.parquet")
    samples = made(tmp_path, shuffle=False)
    assert samples["000001"].prompt == (
        "Which way did it turn? Choose between the following options: left, or right."
    )
    assert samples["000003"].prompt == (
        "How did it rotate? Choose between the following options: left, right, or did not move."
    )
    assert (samples["000003"].answer, samples["000003"].answer_type) == ("did not move", "text")


def test_options_are_shuffled_and_the_letter_follows_the_text(make: Make, tmp_path: Path) -> None:
    # Unshuffled, the right answer has a fixed place, and the letter can be learnt without the image.
    make("sat").write_parquet(tmp_path / "SAT_train.parquet")
    seen: Counter[str] = Counter()
    for seed in range(20):
        sample = made(tmp_path, seed=seed, style="letter")["000003"]
        assert sample.choices["ABC".index(sample.answer)] == "did not move"
        assert f"({sample.answer}) did not move" in sample.prompt
        assert sorted(sample.choices) == ["did not move", "left", "right"]
        seen[sample.answer] += 1
    assert set(seen) == {"A", "B", "C"}
    assert made(tmp_path, style="letter", shuffle=False)["000003"].answer == "C"
    assert made(tmp_path, style="letter") == made(tmp_path, style="letter")


def test_lines_keep_their_text(make: Make, tmp_path: Path) -> None:
    make("sat").write_lines(tmp_path)
    samples = made(tmp_path)
    first = samples["000001"]
    assert first.prompt == make("sat").problem("Turned?", ["left", "right"], 1)
    assert (first.answer, first.answer_type, first.choices) == ("right", "text", ("left", "right"))
    assert first.question == "Turned?"
    record = Record("x", "SAT", "train", ("a",), first.prompt, first.answer, "text", choices=first.choices)
    assert is_correct("Right", record)
    assert is_correct("left", record) is False
    # "B. No" means the option "no".
    assert samples["000002"].answer == "no"
    assert [path.name for path in samples["000002"].images] == ["a.png", "b.png"]
    assert samples["000005"] == Rejection("missing_image")


def test_marks_that_do_not_fit_are_repaired_or_rejected_and_counted(make: Make, tmp_path: Path) -> None:
    make("sat").write_lines(tmp_path)
    b = Sat(tmp_path, SatRules(), 0)
    assert b.candidates("train").rejected == {"answer_is_no_choice": 1, "no_choices": 1}
    assert b.notes()["marks taken out"] == {"train": 1}
    repaired = made(tmp_path)["000003"]
    assert repaired.prompt.startswith("Question: Marks?")
    assert (repaired.prompt.count("<image>"), len(repaired.images)) == (0, 2)
    strict = Sat(tmp_path, SatRules(marks="reject"), 0).candidates("train")
    assert strict.rejected == {"answer_is_no_choice": 1, "no_choices": 1, "marks": 1}


def test_lines_can_be_asked_by_letters(make: Make, tmp_path: Path) -> None:
    make("sat").write_lines(tmp_path)
    sample = made(tmp_path, style="letter", shuffle=False)["000001"]
    assert (sample.prompt, sample.answer, sample.answer_type) == ("Turned?\n(A) left\n(B) right", "B", "mcq")


def test_evaluation_lines_are_read(make: Make, tmp_path: Path) -> None:
    make("sat").write_lines(tmp_path)
    (row,) = sat.rows(sat.find(tmp_path, "test"), tmp_path)
    assert (row.id, row.question, row.answer, row.kind) == ("0", "Where is it?", "left", "SAT2_base")
    assert row.images == (tmp_path / "spatial_reasoning" / "images" / "b.png",)


@pytest.mark.parametrize("inside", [False, True])
def test_images_are_found_from_the_folder_above_and_from_inside(
    make: Make, tmp_path: Path, inside: bool
) -> None:
    make("sat").write_lines(tmp_path)
    root = tmp_path / "spatial_reasoning" if inside else tmp_path
    first = next(sat.rows(sat.find(root, "validation"), root))
    assert first.images[0].read_bytes() == (tmp_path / "spatial_reasoning/images/a.png").read_bytes()


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [("left", "Left"), ("A. left", "Left"), ("(B) A. right", "A. right"), ("B", "A. right"), ("C", "C")],
)
def test_answers_are_options_by_text_or_letter(tmp_path: Path, answer: str, wanted: str) -> None:
    row = {
        "images": ["a.png"],
        "problem": "Question: q\nAnswer Choices:\nA. Left\nB. A. right",
        "answer": answer,
    }
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    (read,) = sat.rows(tmp_path / "x.jsonl")
    assert (read.choices, read.answer) == (("Left", "A. right"), wanted)


def test_one_form_has_to_be_named_where_there_are_two(make: Make, tmp_path: Path) -> None:
    make("sat").write_lines(tmp_path)
    make("sat").write_parquet(tmp_path / "SAT_train.parquet")
    with pytest.raises(
        RecordError, match=r"expected one file of SAT's split train, got SAT_train.parquet and "
    ):
        made(tmp_path)
    assert made(tmp_path, form="parquet")["000001"].answer == "right"
    with pytest.raises(RecordError, match=r"expected SAT_static.parquet for SAT's split static, got none"):
        made(tmp_path, subset="static")


def test_wrong_files_and_styles_give_sentences(make: Make, tmp_path: Path) -> None:
    make("sat").write_parquet(tmp_path / "SAT_train.parquet")
    with pytest.raises(
        UserError, match=r"expected style=paper or style=letter for SAT_train.parquet, got as_is"
    ):
        made(tmp_path, style="as_is")
    (tmp_path / "SAT_train.parquet").write_bytes(b"PAR1 junk")
    with pytest.raises(RecordError, match=r"expected a parquet file, got "):
        made(tmp_path)
    (tmp_path / "x.jsonl").write_text('{"prompt": "?"}\n')
    with pytest.raises(RecordError, match=r"expected problem and answer, .* at x.jsonl row 1"):
        list(sat.rows(tmp_path / "x.jsonl"))


@pytest.mark.parametrize("row_group", [7, 50])
def test_images_are_read_from_the_middle_of_large_row_groups(tmp_path: Path, row_group: int) -> None:
    rows = [
        {"images": [f"{k}".encode()], "question": "?", "answers": ["a", "b"], "question_type": "",
         "correct_answer": "a"}
        for k in range(1, 51)
    ]  # fmt: skip
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "SAT_train.parquet", row_group_size=row_group)
    for number in (1, 7, 8, 16, 17, 33, 50):
        assert sat.picture_bytes(tmp_path / "SAT_train.parquet", number) == (f"{number}".encode(),)
    with pytest.raises(RecordError, match="expected row 51, got a shorter file"):
        sat.picture_bytes(tmp_path / "SAT_train.parquet", 51)


@pytest.mark.parametrize("column", ["image_bytes", "images"])
def test_images_of_a_large_row_group_are_copied_once(make: Make, tmp_path: Path, column: str) -> None:
    # Rows tried in an order of the run's own would each be a pass over the row group.
    class Eager(Sat):
        large = 0

    make("sat").write_parquet(tmp_path / "SAT_train.parquet", column, row_group=100)
    whole = made(tmp_path)
    for kind, rules in ((Eager, SatRules(train=3)), (Eager, SatRules()), (Sat, SatRules(train=3))):
        b = kind(tmp_path, rules, 0)
        for c in reversed(b.candidates("train").candidates):
            assert b.make("train", c, b.draws("train", c.key)) == whole[c.key]
        # What is read in the order of the file, or from small row groups, needs no copy.
        assert len(b._copies) == (kind is Eager and rules.train == 3)


@pytest.mark.parametrize("answers", ["left, right", 5, ["left", None], {"a": "left"}])
def test_options_that_are_no_list_are_counted(tmp_path: Path, answers: object) -> None:
    # A text is no list of its letters.
    row = {"images": [b"x"], "question": "?", "answers": answers, "question_type": "", "correct_answer": "l"}
    write_table(pyarrow.Table.from_pylist([row]), tmp_path / "SAT_train.parquet")
    listing = Sat(tmp_path, SatRules(), 0).candidates("train")
    assert listing == Listing([], {"choices_are_no_list": 1})


def test_half_characters_are_counted(make: Make, tmp_path: Path) -> None:
    make("sat").write_lines(tmp_path)
    file = tmp_path / "spatial_reasoning" / "vigorl_sat2_train_RL.jsonl"
    file.write_text(file.read_text().replace("Turned?", "Turned \\ud800?"))
    assert Sat(tmp_path, SatRules(), 0).candidates("train").rejected["not_unicode"] == 1
