"""The answer is the painting of the reference's style, and no painting is used twice or out of the test."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.art_style import ArtStyle, ArtStyleRules
from latentvr.data.sets import artbench
from latentvr.errors import RecordError, UserError

OFF = ArtStyleRules(dedup="off", validation_share=0.25)
SPLITS = ("train", "validation")


@pytest.fixture(scope="module")
def textures(make):
    return make("textures")


@pytest.fixture(scope="module")
def paintings(make, textures, tmp_path_factory):
    root = tmp_path_factory.mktemp("artbench")
    make("artbench").write(root, textures)
    return root


def _made(builder: ArtStyle, split: str) -> dict[str, Sample | Rejection]:
    listed = builder.candidates(split).candidates
    return {c.key: builder.make(split, c, builder.draws(split, c.key)) for c in listed}


def _used(made: dict[str, Sample | Rejection]) -> list[Path]:
    return [path for one in made.values() if isinstance(one, Sample) for path in one.images]


def test_the_answer_is_of_the_style_of_the_reference(paintings: Path) -> None:
    made = _made(ArtStyle(paintings, OFF, 0), "train")
    assert len(made) == 9
    for sample in made.values():
        reference, first, second = (path.parent.name for path in sample.images)
        assert {"A": first, "B": second}[sample.answer] == reference
        assert {"A": second, "B": first}[sample.answer] != reference
        assert (sample.meta["style"], sample.inputs) == (reference, sample.images)
        assert sample.choices == ("the second image", "the third image")
        assert sample.question in sample.prompt
        assert "(A)" not in sample.question


def test_both_letters_are_answers(make, textures, tmp_path: Path) -> None:
    make("artbench").write(tmp_path, textures, count=60)
    letters = Counter(one.answer for one in _made(ArtStyle(tmp_path, OFF, 0), "train").values())
    assert sum(letters.values()) == 45
    assert min(letters["A"], letters["B"]) > 12


@pytest.mark.parametrize("seed", range(4))
def test_no_painting_is_used_twice(paintings: Path, seed: int) -> None:
    builder = ArtStyle(paintings, OFF, seed)
    used = [path for split in SPLITS for path in _used(_made(builder, split))]
    assert len(used) == len(set(used)) == 36
    assert {path.parent.parent.name for path in used} == {"train"}


def test_seeds_split_in_other_ways(paintings: Path) -> None:
    kept = {
        frozenset(c.key for c in ArtStyle(paintings, OFF, seed).candidates("validation").candidates)
        for seed in (0, 1, 0)
    }
    assert len(kept) == 2


def test_styles_have_equal_shares_in_both_splits(paintings: Path) -> None:
    builder = ArtStyle(paintings, OFF, 0)
    for split, count in (("train", 3), ("validation", 1)):
        listing = builder.candidates(split)
        assert Counter(c.stratum for c in listing.candidates) == dict.fromkeys(
            artbench_styles(paintings), count
        )
        assert listing.rejected == {}
    assert builder.shares("train") is None


def artbench_styles(root: Path) -> set[str]:
    return {row.style for row in artbench.rows(root, "train")}


def test_paintings_that_make_no_triple_are_counted(make, textures, tmp_path: Path) -> None:
    folder = make("artbench").write(tmp_path, textures, count=7)
    assert ArtStyle(tmp_path, OFF, 0).candidates("train").rejected == {"left over": 3}
    # Where most paintings are of one style, some of them find no other one.
    for style in ("baroque", "realism"):
        for number in (5, 6):
            (folder / "train" / style / f"artist_{number:03d}.jpg").unlink()
    builder = ArtStyle(tmp_path, OFF, 0)
    kept = [c for split in SPLITS for c in builder.candidates(split).candidates]
    assert builder.candidates("train").rejected == {"left over": 17 - 3 * len(kept)}


@pytest.mark.parametrize("way", ["cut", "shrink", "page"])
def test_a_damaged_painting_rejects_its_triple_alone(make, textures, tmp_path: Path, way: str) -> None:
    maker = make("artbench")
    folder = maker.write(tmp_path, textures)
    maker.damage(folder, "realism", 4, way)
    builder = ArtStyle(tmp_path, OFF, 0)
    made = [one for split in SPLITS for one in _made(builder, split).values()]
    assert Counter(one.rule for one in made if isinstance(one, Rejection)) == {"unreadable_image": 1}


def test_all_three_paintings_are_compared_with_blink(make, textures, paintings: Path, tmp_path: Path) -> None:
    maker = make("artbench")
    plain = _made(ArtStyle(paintings, OFF, 0), "train")
    key, sample = next(iter(plain.items()))
    for place in range(3):
        style, name = sample.images[place].parent.name, sample.images[place].stem
        repeated = textures.texture(maker.seed(style, int(name[-3:])), (128, 128))
        folder = tmp_path / str(place)
        make("blink_rows").write(folder, "Art_Style", [[textures.texture(5), repeated]])
        rules = ArtStyleRules(blink=str(folder), validation_share=0.25)
        made = _made(ArtStyle(paintings, rules, 0), "train")
        rejected = {k: one for k, one in made.items() if isinstance(one, Rejection)}
        assert list(rejected) == [key]
        assert rejected[key].rule == "duplicate"
        assert rejected[key].detail["reference"] == "val_Art_Style_1#1"
        assert rejected[key].detail["image"] == place
        assert {k: one.answer for k, one in made.items() if k != key} == {
            k: one.answer for k, one in plain.items() if k != key
        }
        assert ArtStyle(paintings, rules, 0).notes()["duplicates"]["references"] == 2


def test_without_blink_the_build_is_refused_at_once(paintings: Path) -> None:
    with pytest.raises(UserError, match="blink=DIR, or dedup=off"):
        ArtStyle(paintings, ArtStyleRules(), 0).candidates("train")


def test_the_folder_itself_may_be_named(make, textures, tmp_path: Path) -> None:
    make("artbench").write(tmp_path, textures, nested=False)
    rows = artbench.rows(tmp_path, "train")
    assert len(rows) == 36
    assert rows == sorted(rows, key=lambda row: (row.style, row.image.name))
    assert {row.image.suffix for row in rows} == {".jpg"}


def test_a_folder_without_paintings_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="a folder train"):
        artbench.rows(tmp_path, "train")
    (tmp_path / "train" / "baroque").mkdir(parents=True)
    with pytest.raises(RecordError, match="folders of styles"):
        artbench.rows(tmp_path, "train")
    (tmp_path / "train" / "baroque" / "a.jpg").write_bytes(b"x")
    with pytest.raises(RecordError, match="at least two styles, got only baroque"):
        ArtStyle(tmp_path, OFF, 0).candidates("train")
