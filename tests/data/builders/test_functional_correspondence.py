"""The right letter stands at the same keypoint, and a picture is in one split and used once."""

from __future__ import annotations

import io
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.prompts import prompt
from latentvr.data.builders.tasks.functional_correspondence import (
    FunctionalCorrespondence,
    FunctionalCorrespondenceRules,
)
from latentvr.data.sets.funkpoint import rows
from latentvr.errors import RecordError

SMALL = {"nearest": 25, "radius": 4, "line": 2}
SPLITS = ("train", "validation", "test")


def _builder(root: Path, seed: int = 0, **rules: object) -> FunctionalCorrespondence:
    return FunctionalCorrespondence(root, FunctionalCorrespondenceRules(**{**SMALL, **rules}), seed)


def _made(builder: FunctionalCorrespondence, split: str = "train") -> list[Sample | Rejection]:
    return [
        builder.make(split, candidate, builder.draws(split, candidate.key))
        for candidate in builder.candidates(split).candidates
    ]


@pytest.fixture(scope="module")
def funkpoint(make, tmp_path_factory):
    root = tmp_path_factory.mktemp("funkpoint")
    make("funkpoint").write(root, count=60, both=20)
    return root


@pytest.fixture(scope="module")
def samples(funkpoint):
    made = [one for split in SPLITS for one in _made(_builder(funkpoint), split)]
    assert len(made) >= 26
    assert all(isinstance(one, Sample) for one in made)
    return made


def _seen(make, sample: Sample, number: int, mark: str) -> int:
    """Number, from 1 on, of the keypoint whose colour the file has at a mark."""
    x, y = map(int, sample.meta["points"][mark])
    colour = np.array(Image.open(sample.inputs[number]).convert("RGB").getpixel((x, y)))
    apart = np.abs(np.array(make("funkpoint").COLOURS) - colour).max(axis=1)
    assert apart.min() < 25
    return int(apart.argmin()) + 1


def test_the_right_letter_stands_at_the_same_keypoint(make, samples: list[Sample]) -> None:
    for sample in samples:
        reference = _seen(make, sample, 0, "REF")
        assert sample.meta["keypoint"] == reference
        found = {letter: _seen(make, sample, 1, letter) for letter in "ABCD"}
        assert [letter for letter in found if found[letter] == reference] == [sample.answer]
        assert len(set(found.values())) == 4


def test_marks_lie_at_the_shares_of_the_real_size(make, samples: list[Sample]) -> None:
    for sample in samples:
        number = int(Path(sample.meta["source"]).stem)
        share = make("funkpoint").points(number)[sample.meta["keypoint"] - 1]
        wanted = np.multiply(share, sample.images[0].size)
        assert sample.meta["points"]["REF"] == pytest.approx(wanted)
        # The ring is in the pixels: the pictures have hardly any red of their own.
        red = np.clip(np.asarray(sample.images[0]).astype(float)[..., 0] - 80, 0, None)
        rows_, columns = np.mgrid[0 : red.shape[0], 0 : red.shape[1]]
        red[np.hypot(columns - wanted[0], rows_ - wanted[1]) > 6] = 0
        centre = np.array([(red * columns).sum(), (red * rows_).sum()]) / red.sum()
        assert np.hypot(*(centre - wanted)) < 0.5


def test_letters_and_keypoints_vary_and_points_lie_apart(samples: list[Sample]) -> None:
    assert set(Counter(sample.answer for sample in samples)) == set("ABCD")
    assert {sample.meta["keypoint"] for sample in samples} == {1, 2, 3, 4, 5}
    for sample in samples:
        four = [sample.meta["points"][letter] for letter in "ABCD"]
        assert min(np.hypot(*np.subtract(a, b)) for a, b in combinations(four, 2)) >= 25


def _used(builder: FunctionalCorrespondence, split: str) -> list[tuple[str, str]]:
    listed = builder.candidates(split).candidates
    return [(c.facts["action"], image) for c in listed for image in c.facts["images"]]


def test_a_picture_is_in_one_split_and_used_once(funkpoint: Path) -> None:
    used = {
        split: [image for _, image in _used(_builder(funkpoint, once_per="split"), split)] for split in SPLITS
    }
    assert all(len(images) == len(set(images)) for images in used.values())
    assert sum(map(len, used.values())) == len(set().union(*used.values()))
    assert len(used["train"]) >= 46
    assert len(used["validation"]) >= 4
    assert len(used["test"]) >= 4


def test_a_picture_may_be_used_once_for_each_action(funkpoint: Path) -> None:
    builder = _builder(funkpoint)
    used = _used(builder, "train")
    assert len(used) == len(set(used)) > len({image for _, image in used})
    # Splits are by picture all the same.
    others = {image for split in SPLITS[1:] for _, image in _used(builder, split)}
    assert not others & {image for _, image in used}


def test_pairs_share_the_action(funkpoint: Path) -> None:
    actions = {(row.name, row.action) for row in rows(funkpoint)}
    for split in SPLITS:
        for action, image in _used(_builder(funkpoint), split):
            assert (image.removeprefix("FunKPoint/"), action) in actions


def test_splits_are_balanced_in_actions(make, tmp_path: Path) -> None:
    make("funkpoint").write(tmp_path, count=100, both=0)
    for split, count in (("train", 80), ("validation", 10), ("test", 10)):
        actions = Counter(action for action, _ in _used(_builder(tmp_path), split))
        assert sum(actions.values()) >= count - 2
        assert min(actions.values()) >= 0.4 * count - 1
    seeds = {tuple(_used(_builder(tmp_path, seed), "test")) for seed in range(3)}
    assert len(seeds) == 3


def test_one_name_of_a_picture_written_in_two_ways(make, tmp_path: Path) -> None:
    """The second row is the same file: it must not be paired with the first, nor be in another split."""
    make("funkpoint").write(
        tmp_path, count=12, both=0, extra=(make("funkpoint").row(0, "Pour", "./images/n00/000.jpg"),)
    )
    counts = Counter[str]()
    for split in SPLITS:
        counts.update(_builder(tmp_path).candidates(split).rejected)
    assert counts["repeated_row"] == 1


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"p3_x": "nan"}, "bad_keypoint"), ({"p3_y": ""}, "bad_keypoint"),
        ({"p1_x": "-0.01"}, "bad_keypoint"), ({"p5_y": "1.5"}, "bad_keypoint"),
        ({"p5_y": "inf"}, "bad_keypoint"),
        ({"image_path": "images/n00/none.jpg"}, "missing_image"),
        ({"image_path": "../../etc/passwd"}, "missing_image"),
    ],
)  # fmt: skip
def test_an_awkward_row_is_counted(make, tmp_path: Path, values: dict[str, str], rule: str) -> None:
    make("funkpoint").write(tmp_path, both=0, spoilt={7: values})
    counts, used = Counter[str](), []
    for split in SPLITS:
        counts.update(_builder(tmp_path).candidates(split).rejected)
        used += [image for _, image in _used(_builder(tmp_path), split)]
    assert counts[rule] == 1
    assert not any(image.endswith("007.jpg") for image in used)
    assert len(used) + counts["unpaired"] == 19


def test_a_damaged_picture_and_crowded_keypoints_are_counted(make, tmp_path: Path) -> None:
    base = make("funkpoint").write(tmp_path, count=4, both=0)
    assert _made(_builder(tmp_path, nearest=500)) == [Rejection("crowded_keypoints")]
    for file in base.glob("images/*/*.jpg"):
        file.write_bytes(b"\xff\xd8\xff broken")
    assert _made(_builder(tmp_path)) == [Rejection("unreadable_image")]


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    "prefix", ["images/", "./images/", "", "FunKPoint/images/", "/data/FunKPoint/images/"]
)
def test_paths_are_found_however_they_begin(make, tmp_path: Path, prefix: str, nested: bool) -> None:
    make("funkpoint").write(tmp_path, prefix=prefix, nested=nested)
    read = rows(tmp_path)
    assert len(read) == 25
    assert all(row.image is not None for row in read)
    assert read[0].name == "images/n00/000.jpg"


@pytest.mark.parametrize(
    "renamed", [{"image_path": "img"}, {"image_path": "Image_Path", "p1_x": " p1_x "}, {}]
)
def test_other_names_of_columns(make, tmp_path: Path, renamed: dict[str, str]) -> None:
    base = make("funkpoint").write(tmp_path, renamed=renamed)
    file = base / "labels.csv"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert rows(tmp_path)[0].points == tuple(make("funkpoint").points(0))


@pytest.mark.parametrize(
    ("renamed", "column"),
    [({"image_path": "file"}, "image_path"), ({"p4_y": "p4y"}, "p4_y"), ({"action": "verb"}, "action")],
)
def test_a_missing_column_is_named(make, tmp_path: Path, renamed: dict[str, str], column: str) -> None:
    make("funkpoint").write(tmp_path, renamed=renamed)
    with pytest.raises(RecordError, match=rf"expected a column {column}.*labels\.csv; fix"):
        rows(tmp_path)


def test_a_missing_table_an_empty_one_and_a_word_for_a_number(make, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="expected the table of labels, got no such file"):
        rows(tmp_path)
    base = make("funkpoint").write(tmp_path, spoilt={3: {"p2_x": "left"}})
    with pytest.raises(
        RecordError, match=r"expected a number as coordinate, got 'left', at .*labels\.csv row 5"
    ):
        rows(tmp_path)
    (base / "labels.csv").write_text((base / "labels.csv").read_text().splitlines()[0] + "\n")
    with pytest.raises(RecordError, match="expected at least one row"):
        rows(tmp_path)


def _blink(path: Path, prompts: list[str]) -> Path:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(stream, format="PNG")
    picture = {"bytes": stream.getvalue(), "path": None}
    task = "Functional_Correspondence"
    written = [
        {"idx": f"val_{task}_{n}", "sub_task": task, "question": "?", "image_1": picture, "image_2": picture,
         "image_3": None, "image_4": None, "choices": ["Point A", "Point B"], "answer": "(A)", "prompt": one,
         "explanation": ""}
        for n, one in enumerate(prompts, start=1)
    ]  # fmt: skip
    (path / task).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(written), path / task / "val-00000-of-00001.parquet")
    return path


QUESTION = 'For "Mash Pound" this. Choices "A, B, C, D" are drawn. Which one for: "{}"?'
TRUE = QUESTION + '\nSelect.\n(A) "Point A"\n(B) Point B\n'


def test_the_wording_is_blinks_where_blink_is_given(funkpoint: Path, tmp_path: Path) -> None:
    blink = _blink(tmp_path, [TRUE.format("Scoop"), TRUE.format("Mash Pound")])
    builder = _builder(funkpoint, blink=str(blink))
    made = [one for one in _made(builder) if isinstance(one, Sample)]
    # BLINK spells one of the actions otherwise than the table does, and has not got the other.
    assert {one.meta["action"]: one.prompt for one in made} == {
        "Pour": TRUE.format("Pour"), "Mash/Pound": TRUE.format("Mash Pound"),
    }  # fmt: skip
    assert made[0].question == made[0].prompt.partition("\n(A)")[0]
    assert builder.notes() == {"prompt": "BLINK's own rows", "actions": ["Mash Pound", "Scoop"]}


def test_the_shipped_wording_is_said_to_be_unverified(samples: list[Sample], funkpoint: Path) -> None:
    assert "not verified" in _builder(funkpoint).notes()["prompt"]
    for sample in samples:
        assert sample.prompt == prompt("Functional_Correspondence", action=sample.meta["action"])


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ([TRUE.format("Pour"), "Another " + TRUE.format("Pour")], "quoted action alone, got 2 wordings"),
        (["No quotes?\n(A) x"], "an action in quotes, got none"),
    ],
)
def test_rows_of_another_form_are_refused(
    funkpoint: Path, tmp_path: Path, prompts: list[str], problem: str
) -> None:
    with pytest.raises(RecordError, match=problem):
        _builder(funkpoint, blink=str(_blink(tmp_path, prompts))).candidates("train")
