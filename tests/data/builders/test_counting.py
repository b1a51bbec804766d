"""Dead, changed and damaged images are counted out, and training is cleared of test pictures."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.counting import Counting, CountingRules
from latentvr.data.sets import pixmo
from latentvr.errors import RecordError, UserError


@pytest.fixture(scope="module")
def textures(make):
    return make("textures")


@pytest.fixture(scope="module")
def pixmo_count(make, textures, tmp_path_factory):
    root = tmp_path_factory.mktemp("pixmo")
    return root, make("pixmo").write(root, textures)


def _made(builder: Counting, split: str) -> dict[str, Sample | Rejection]:
    listed = builder.candidates(split).candidates
    assert len({c.key for c in listed}) == len(listed)
    return {c.key: builder.make(split, c, builder.draws(split, c.key)) for c in listed}


def _samples(builder: Counting, split: str) -> list[Sample]:
    return [made for made in _made(builder, split).values() if isinstance(made, Sample)]


def test_every_awkward_row_is_counted_under_its_rule(pixmo_count) -> None:
    root, rows = pixmo_count
    builder = Counting(root, CountingRules(), 0)
    listing = builder.candidates("train")
    assert listing.rejected == {"count": 3, "dead": 2, "label": 1, "repeated": 1}
    made = _made(builder, "train")
    rejections = Counter(one.rule for one in made.values() if isinstance(one, Rejection))
    assert rejections == {"hash": 1, "unreadable_image": 2, "duplicate": 1}
    assert len(rows["train"]) == sum(listing.rejected.values()) + len(made)
    assert {key.split("/")[0] for key, one in made.items() if one == Rejection("hash")} == {"e" * 64}


def test_a_record_is_the_row_and_its_very_file(pixmo_count) -> None:
    root, rows = pixmo_count
    samples = _samples(Counting(root, CountingRules(), 0), "train")
    by_hash = {(row["image_sha256"], row["label"]): row for row in rows["train"]}
    assert len(samples) == 12
    for sample in samples:
        (data,) = sample.images
        row = by_hash[hashlib.sha256(data).hexdigest(), sample.meta["label"]]
        assert sample.answer == str(row["count"])
        assert sample.prompt == sample.question == f"How many {row['label']} are there in the image?"
        assert (sample.answer_type, sample.choices, sample.bboxes) == ("number", (), ())
        assert sample.meta["sha256"] == row["image_sha256"]
        assert sample.inputs == (root / sample.meta["source"],)
        assert sample.inputs[0].read_bytes() == data


def test_bounds_and_strata_are_of_training_alone(pixmo_count) -> None:
    root, _ = pixmo_count
    builder = Counting(root, CountingRules(), 0)
    strata = {c.stratum: c.facts["count"] for c in builder.candidates("train").candidates}
    assert [strata[name] for name in sorted(strata)] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert builder.shares("train") is None
    assert {sample.answer for sample in _samples(builder, "validation")} == {"1", "12"}
    assert sorted(int(sample.answer) for sample in _samples(builder, "test")) == [3, 4, 15]
    assert {c.stratum for c in builder.candidates("validation").candidates} == {""}
    narrow = Counting(root, CountingRules(min_count=4, max_count=5), 0)
    assert {sample.answer for sample in _samples(narrow, "train")} == {"4", "5"}


def test_test_pictures_are_in_no_other_split(pixmo_count) -> None:
    root, rows = pixmo_count
    builder = Counting(root, CountingRules(), 0)
    held = rows["test"][0]["image_sha256"]
    for split in ("train", "validation"):
        found = [one for one in _made(builder, split).values() if getattr(one, "rule", "") == "duplicate"]
        assert [one.detail["reference"] for one in found] == [held]
    kept = _made(Counting(root, CountingRules(dedup="off"), 0), "train")
    assert Counter(one.rule for one in kept.values() if isinstance(one, Rejection)) == {
        "hash": 1,
        "unreadable_image": 2,
    }


def test_surviving_test_pictures_are_written_down(pixmo_count) -> None:
    root, rows = pixmo_count
    notes = Counting(root, CountingRules(), 0).notes()
    assert notes["test_images"] == sorted(row["image_sha256"] for row in rows["test"][:3])
    assert notes["duplicates"]["references"] == 3
    assert Counting(root, CountingRules(dedup="off"), 0).notes() == {"duplicates": "not looked for"}


def test_without_test_pictures_training_is_refused(make, textures, tmp_path: Path) -> None:
    rows = make("pixmo").write(tmp_path, textures)
    for row in rows["test"][:3]:
        (tmp_path / "images" / f"{row['image_sha256']}.png").unlink()
    with pytest.raises(UserError, match=r"expected test images.*dedup=off"):
        Counting(tmp_path, CountingRules(), 0).candidates("train")
    assert Counting(tmp_path, CountingRules(dedup="off"), 0).candidates("train").candidates


def test_a_link_out_of_the_folder_is_not_followed(make, textures, tmp_path: Path) -> None:
    root = tmp_path / "pixmo"
    rows = make("pixmo").write(root, textures)
    image = root / "images" / f"{rows['train'][3]['image_sha256']}.png"
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    made = _made(Counting(root, CountingRules(), 0), "train")
    assert made[f"{image.stem}/cats"] == Rejection("link_out_of_root")


def test_sizes_and_tables(pixmo_count) -> None:
    root, _ = pixmo_count
    builder = Counting(root, CountingRules(), 0)
    assert [builder.size(split) for split in builder.splits] == [1000, None, None]
    few = Counting(root, CountingRules(train=3, validation=2, test=1), 0)
    assert [few.size(split) for split in few.splits] == [3, 2, 1]
    assert [file.name.split("-")[0] for file in builder.tables()] == ["train", "validation", "test"]


def test_rows_keep_the_order_of_the_file(pixmo_count) -> None:
    root, rows = pixmo_count
    read = pixmo.rows(root, "train")
    assert [row.count for row in read] == [row["count"] for row in rows["train"]]
    assert read[6].where == "train-00000-of-00001.parquet row 7"
    assert [row.image is None for row in read].count(True) == 2
    # A description under the same name must not stand in for the picture.
    assert read[2].image.suffix == ".png"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "data/train-00000-of-00001.parquet").unlink(), "no such file"),
        (lambda root: (root / "images").rename(root / "pictures"), "a folder of images"),
        (lambda root: (root / "data/train-00000-of-00001.parquet").write_bytes(b"no"), "a parquet file"),
    ],
    ids=["table", "images", "damaged"],
)
def test_what_is_missing_is_named(make, textures, tmp_path: Path, spoil, said: str) -> None:
    make("pixmo").write(tmp_path, textures)
    spoil(tmp_path)
    with pytest.raises(RecordError, match=said):
        pixmo.rows(tmp_path, "train")


def test_a_missing_column_is_named(pixmo_count, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    root, _ = pixmo_count
    (tmp_path / "images").mkdir()
    table = pq.read_table(root / "data/test-00000-of-00001.parquet").drop_columns(["label"])
    pq.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(RecordError, match="expected columns label"):
        pixmo.rows(tmp_path, "test")


def test_links_inside_the_folder_are_followed(make, textures, tmp_path: Path) -> None:
    rows = make("pixmo").write(tmp_path, textures)
    (tmp_path / "images").rename(tmp_path / "store")
    (tmp_path / "images").symlink_to("store")
    image = tmp_path / "store" / f"{rows['train'][3]['image_sha256']}.png"
    image.rename(tmp_path / "other.png")
    image.symlink_to("../other.png")
    assert isinstance(_made(Counting(tmp_path, CountingRules(), 0), "train")[f"{image.stem}/cats"], Sample)


@pytest.mark.parametrize("dedup", ["on", "off"])
def test_a_folder_of_images_that_is_a_link_out_is_called_that(make, textures, tmp_path: Path, dedup) -> None:
    root = tmp_path / "pixmo"
    make("pixmo").write(root, textures)
    (root / "images").rename(tmp_path / "disk")
    (root / "images").symlink_to(tmp_path / "disk")
    with pytest.raises(RecordError, match=r"got a link out of it, at .*images; fix: move the images into"):
        Counting(root, CountingRules(dedup=dedup), 0).candidates("train")
