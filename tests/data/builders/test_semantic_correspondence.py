"""The right letter stands at the same keypoint, others at other ones, and bad keypoints are never marked."""

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
from latentvr.data.builders.tasks.semantic_correspondence import (
    SemanticCorrespondence,
    SemanticCorrespondenceRules,
)
from latentvr.data.sets.spair import pair_names
from latentvr.errors import RecordError, UserError

SMALL = {"nearest": 25, "margin": 10, "radius": 4, "line": 2, "dedup": "off", "held_out": 0.5}


def _builder(root: Path, seed: int = 0, **rules: object) -> SemanticCorrespondence:
    return SemanticCorrespondence(root, SemanticCorrespondenceRules(**{**SMALL, **rules}), seed)


def _made(builder: SemanticCorrespondence, split: str = "train") -> dict[str, Sample | Rejection]:
    listed = builder.candidates(split).candidates
    return {c.key: builder.make(split, c, builder.draws(split, c.key)) for c in listed}


def _all(root: Path, **rules: object) -> dict[str, Sample | Rejection]:
    builder = _builder(root, disjoint="pair", **rules)
    return {**_made(builder), **_made(builder, "validation")}


@pytest.fixture(scope="module")
def spair(make, tmp_path_factory):
    root = tmp_path_factory.mktemp("spair")
    make("spair").write(root)
    return root


@pytest.fixture(scope="module")
def samples(spair):
    made = list(_all(spair).values())
    assert len(made) == 2 * 12
    assert all(isinstance(sample, Sample) for sample in made)
    return made


def _colour(sample: Sample, number: int, mark: str) -> int:
    """Which of the keypoints' colours the file has at a mark."""
    colours = np.array(
        [(10, 30, 240), (10, 240, 30), (10, 235, 235), (10, 10, 10), (60, 120, 60), (10, 110, 130)]
    )
    seen = (
        Image.open(sample.inputs[number])
        .convert("RGB")
        .getpixel(tuple(map(int, sample.meta["points"][mark])))
    )
    apart = np.abs(colours - np.array(seen)).max(axis=1)
    assert apart.min() < 25
    return int(apart.argmin())


def test_the_right_letter_stands_at_the_same_keypoint(samples: list[Sample]) -> None:
    for sample in samples:
        reference = _colour(sample, 0, "REF")
        assert sample.meta["keypoint"] == str(3 * reference)
        found = [letter for letter in "ABCD" if _colour(sample, 1, letter) == reference]
        assert found == [sample.answer]
        assert len({_colour(sample, 1, letter) for letter in "ABCD"}) == 4


def test_the_marks_are_annotated_keypoints_and_far_apart(make, samples: list[Sample]) -> None:
    for sample in samples:
        points = sample.meta["points"]
        source, target = (Path(sample.meta[key]).stem for key in ("source", "target"))
        assert points["REF"] in make("spair").keypoints(source)
        four = [points[letter] for letter in "ABCD"]
        assert all(point in make("spair").keypoints(target) for point in four)
        assert min(np.hypot(*np.subtract(a, b)) for a, b in combinations(four, 2)) >= 25


def test_the_circles_in_the_pixels_are_centred_on_the_keypoints(samples: list[Sample]) -> None:
    for sample in samples:
        for mark, number in (("REF", 0), (sample.answer, 1)):
            x, y = sample.meta["points"][mark]
            image = sample.images[number]
            assert image.size == Image.open(sample.inputs[number]).size
            red = np.asarray(image).astype(float)[..., 0]
            rows, columns = np.mgrid[0 : red.shape[0], 0 : red.shape[1]]
            red[np.hypot(columns - x, rows - y) > 6] = 0
            red = np.clip(red - 80, 0, None)
            centre = (red * columns).sum() / red.sum(), (red * rows).sum() / red.sum()
            assert np.hypot(centre[0] - x, centre[1] - y) < 0.5
            assert red.sum() / 175 == pytest.approx(2 * np.pi * 4 * 2, rel=0.2)


def test_letters_and_keypoints_vary(samples: list[Sample]) -> None:
    assert set(Counter(sample.answer for sample in samples)) == set("ABCD")
    assert len({sample.meta["keypoint"] for sample in samples}) >= 4
    assert {sample.meta["category"] for sample in samples} == {"cat", "dog"}


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        ("three", "few_keypoints"), ("negative", "few_keypoints"), ("nan", "few_keypoints"),
        ("null", "few_keypoints"), ("outside", "few_keypoints"), ("crowded", "crowded_keypoints"),
        ("size", "size"),
    ],
)  # fmt: skip
def test_an_awkward_pair_is_counted_by_its_rule(make, tmp_path: Path, how: str, rule: str) -> None:
    make("spair").write(tmp_path, spoilt=(how,))
    made = _all(tmp_path)
    assert {key: one for key, one in made.items() if isinstance(one, Rejection)} == {
        "000001-2007_cat0-2007_cat1-cat": Rejection(rule)
    }


def test_bad_keypoints_are_never_marked_where_four_others_are_left(make, tmp_path: Path) -> None:
    make("spair").write(tmp_path, spoilt=("spared",) * 12)
    for sample in _all(tmp_path).values():
        assert isinstance(sample, Sample)
        if sample.meta["category"] == "cat":
            assert sample.meta["keypoint"] in ("6", "9", "12", "15")
            assert all(0 <= v < 240 for point in sample.meta["points"].values() for v in point)


@pytest.mark.parametrize("mark", [":", "_", ""])
@pytest.mark.parametrize("nested", [True, False])
def test_every_spelling_of_the_colon_is_found(make, tmp_path: Path, mark: str, nested: bool) -> None:
    make("spair").write(tmp_path, mark=mark, nested=nested)
    assert sum(isinstance(one, Sample) for one in _all(tmp_path).values()) == 24


def test_an_archive_without_colons_in_another_spelling_is_said(make, tmp_path: Path) -> None:
    make("spair").write(tmp_path, mark="%")
    with pytest.raises(RecordError, match=r'cat\.json or the same with "_" or nothing for ":".*fix: unpack'):
        _builder(tmp_path).candidates("train")


def test_pictures_are_in_one_split_only(spair: Path) -> None:
    builder, used = _builder(spair), {}
    for split in ("train", "validation"):
        listing = builder.candidates(split)
        used[split] = {name for c in listing.candidates for name in c.facts["stem"].split("-")[1:]}
        assert len(listing.candidates) == 4
        assert listing.rejected == {"pictures_of_both_splits": 16}
    assert not used["train"] & used["validation"]
    # Half of each category's four pictures.
    assert [len(used[split]) for split in used] == [4, 4]


def test_a_photograph_of_two_categories_is_in_one_split_only(tmp_path: Path) -> None:
    """PASCAL VOC has horses and their riders on one photograph, and its pairs are listed for both."""
    for folder in ("Layout/large", "PairAnnotation/trn"):
        (tmp_path / folder).mkdir(parents=True)
    names = [f"2007_{k:06d}" for k in range(12)]
    pairs = [(a, b, "horse") for a in names[:8] for b in names[:8] if a != b]
    pairs += [(a, b, "person") for a in names[4:] for b in names[4:] if a != b]
    lines = [f"{k:06d}-{a}-{b}:{category}" for k, (a, b, category) in enumerate(pairs, start=1)]
    (tmp_path / "Layout/large/trn.txt").write_text("\n".join(lines))
    (tmp_path / f"PairAnnotation/trn/{lines[0]}.json").write_text("{}")
    for seed in range(5):
        builder, used, seen = _builder(tmp_path, seed), {}, {}
        for split in ("train", "validation"):
            facts = [candidate.facts for candidate in builder.candidates(split).candidates]
            used[split] = {name for one in facts for name in one["stem"].split("-")[1:]}
            seen[split] = {one["category"] for one in facts}
        assert not used["train"] & used["validation"]
        assert seen == {"train": {"horse", "person"}, "validation": {"horse", "person"}}


def test_pairs_alone_may_be_kept_apart(spair: Path) -> None:
    builder = _builder(spair, disjoint="pair")
    keys = [{c.key for c in builder.candidates(split).candidates} for split in ("train", "validation")]
    assert not keys[0] & keys[1]
    assert [len(part) for part in keys] == [12, 12]


def test_the_small_layout_has_fewer_pairs(spair: Path) -> None:
    assert (len(pair_names(spair, "trn")), len(pair_names(spair, "trn", "small"))) == (24, 12)


@pytest.mark.parametrize("line", ["000001-a-b", "../../x-a-b:cat", "000001-a/../x-b:cat", "000001-a:cat"])
def test_a_layout_line_of_another_form_is_named(make, tmp_path: Path, line: str) -> None:
    base = make("spair").write(tmp_path)
    file = base / "Layout/large/trn.txt"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(RecordError, match=r"expected a line such as .*trn\.txt row 25"):
        pair_names(tmp_path, "trn")


def test_a_missing_layout_a_missing_picture_and_a_damaged_annotation(make, tmp_path: Path) -> None:
    base = make("spair").write(tmp_path)
    (base / "JPEGImages/cat/2007_cat0.jpg").unlink()
    (base / "JPEGImages/cat/2007_cat1.jpg").write_bytes(b"\xff\xd8\xff broken")
    counts = Counter(one.rule for one in _all(tmp_path).values() if isinstance(one, Rejection))
    assert sorted(counts) == ["missing_image", "unreadable_image"]
    assert sum(counts.values()) == 10
    (base / "PairAnnotation/trn/000024-2007_dog3-2007_dog2:dog.json").write_text('{"src_kps": []}')
    with pytest.raises(
        RecordError, match=r"expected a pair's annotation, got KeyError .*dog3-2007_dog2:dog\.json"
    ):
        _all(tmp_path)
    (base / "PairAnnotation/trn/000024-2007_dog3-2007_dog2:dog.json").unlink()
    assert _all(tmp_path)["000024-2007_dog3-2007_dog2-dog"] == Rejection("missing_annotation")
    (base / "Layout/large/trn.txt").unlink()
    with pytest.raises(RecordError, match="expected the list of pairs, got no such file"):
        _builder(tmp_path).candidates("train")


def _blink(path: Path, pairs: list[tuple[Image.Image, Image.Image]]) -> None:
    rows = []
    for number, pair in enumerate(pairs, start=1):
        files = []
        for picture in pair:
            stream = io.BytesIO()
            picture.save(stream, format="JPEG", quality=80)
            files.append({"bytes": stream.getvalue(), "path": None})
        rows.append({
            "idx": f"val_Semantic_Correspondence_{number}", "sub_task": "Semantic_Correspondence",
            "question": "?",
            "image_1": files[0], "image_2": files[1], "image_3": None, "image_4": None,
            "choices": ["Point A", "Point B", "Point C", "Point D"], "answer": "(A)", "prompt": "?",
            "explanation": "",
        })  # fmt: skip
    folder = path / "Semantic_Correspondence"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "val-00000-of-00001.parquet")


def test_a_duplicate_needs_both_pictures_in_either_order(make, spair: Path, tmp_path: Path) -> None:
    """BLINK has the pair (cat0, cat1); (cat1, cat0) is swapped, and (cat0, cat2) shares one picture."""
    pytest.importorskip("imagehash")
    other = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8))
    pictures = [make("spair").picture(f"2007_cat{k}") for k in range(3)]
    _blink(tmp_path, [(pictures[0], pictures[1]), (pictures[2], other)])
    # The miniature's pictures are much alike, so that only the strictest thresholds tell them apart.
    made = _all(spair, dedup="on", blink=str(tmp_path), max_hash_distance=4)
    found = {key: one for key, one in made.items() if isinstance(one, Rejection)}
    assert sorted(found) == ["000001-2007_cat0-2007_cat1-cat", "000004-2007_cat1-2007_cat0-cat"]
    assert {one.rule for one in found.values()} == {"duplicate"}
    orders = [found[key].detail["by"].split()[-1] for key in sorted(found)]
    assert orders == ["aligned", "swapped"]
    builder = _builder(spair, dedup="on", blink=str(tmp_path))
    assert builder.notes()["duplicates"]["references"] == 4


def test_without_blink_duplicates_cannot_be_left_out(spair: Path) -> None:
    with pytest.raises(UserError, match="fix: blink=DIR, or dedup=off"):
        _builder(spair, dedup="on").candidates("train")
    assert _builder(spair).notes() == {"duplicates": "not looked for"}
