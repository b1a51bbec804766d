"""The right circle lies where the homography takes the reference point, and the wrong ones far from there."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.visual_correspondence import (
    VisualCorrespondence,
    VisualCorrespondenceRules,
    projected,
)
from latentvr.data.sets.hpatches import homography, scenes
from latentvr.errors import RecordError

SMALL = {"margin": 12, "apart": 10, "nearest": 20, "farthest": 80, "radius": 4, "line": 2, "per_pair": 3}
SPLITS = ("train", "validation", "test")


def _builder(root: Path, seed: int = 0, **rules: int) -> VisualCorrespondence:
    return VisualCorrespondence(root, VisualCorrespondenceRules(**{**SMALL, **rules}), seed)


def _made(builder: VisualCorrespondence, split: str, step: int = 1) -> list[Sample | Rejection]:
    listed = builder.candidates(split).candidates[::step]
    return [builder.make(split, c, builder.draws(split, c.key)) for c in listed]


@pytest.fixture(scope="module")
def hpatches(make, tmp_path_factory):
    root = tmp_path_factory.mktemp("hpatches")
    make("hpatches").write(root)
    return root


@pytest.fixture(scope="module")
def samples(hpatches):
    made = _made(_builder(hpatches), "train", 7)
    found = [sample for sample in made if isinstance(sample, Sample)]
    assert len(found) > 0.9 * len(made) > 50
    return found


def _truth(make, sample: Sample) -> np.ndarray:
    """Apply the scene's homographies one after the other, by the code that drew the pictures."""
    _, name, first = sample.meta["source"].split("/")
    i, j = int(Path(first).stem), int(Path(sample.meta["target"]).stem)
    there = np.linalg.solve(make("hpatches").homography(name, i), [*sample.meta["points"]["REF"], 1])
    x, y, w = make("hpatches").homography(name, j) @ (there / there[2])
    return np.array([x / w, y / w])


def test_the_right_letter_stands_at_the_projection(make, samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.meta["points"][sample.answer] == pytest.approx(_truth(make, sample), abs=1e-6)


def test_the_circle_in_the_pixels_is_centred_on_the_projection(make, samples: list[Sample]) -> None:
    """The pictures have no red of their own, so red is the mark; the label lies further out."""
    for sample in samples:
        for number, point in enumerate((np.array(sample.meta["points"]["REF"]), _truth(make, sample))):
            plain = np.asarray(Image.open(sample.inputs[number])).astype(float)[..., 0]
            strength = (np.asarray(sample.images[number]).astype(float)[..., 0] - plain) / (255 - plain)
            rows, columns = np.mgrid[0 : plain.shape[0], 0 : plain.shape[1]]
            strength[np.hypot(columns - point[0], rows - point[1]) > 4 + 1 + 1] = 0
            centre = np.array([(strength * columns).sum(), (strength * rows).sum()]) / strength.sum()
            assert np.hypot(*(centre - point)) < 0.5
            # The whole ring is there, and nothing else: its area is circumference times width.
            assert strength.sum() == pytest.approx(2 * np.pi * 4 * 2, rel=0.08)


def test_both_marked_points_show_the_same_spot_of_the_scene(make, samples: list[Sample]) -> None:
    """Colours without marks agree at the right point alone: no homography is read backwards."""
    wrong = []
    for sample in samples:
        _, name, first = sample.meta["source"].split("/")
        if name.startswith("i_"):
            continue
        one = make("hpatches").picture(name, int(Path(first).stem))
        two = make("hpatches").picture(name, int(Path(sample.meta["target"]).stem))
        seen = np.array(one.getpixel(tuple(map(round, sample.meta["points"]["REF"])))).astype(int)
        for letter in "ABCD":
            there = np.array(two.getpixel(tuple(map(round, sample.meta["points"][letter])))).astype(int)
            apart = np.abs(seen - there).max()
            if letter == sample.answer:
                assert apart <= 12
            else:
                wrong.append(apart)
    assert np.median(wrong) > 30


def test_points_keep_their_distances(samples: list[Sample]) -> None:
    for sample in samples:
        points = sample.meta["points"]
        four = [np.array(points[letter]) for letter in "ABCD"]
        assert min(np.hypot(*(a - b)) for a, b in combinations(four, 2)) >= 20
        assert max(np.hypot(*(a - b)) for a, b in combinations(four, 2)) <= 80
        for number, marks in enumerate((["REF"], "ABCD")):
            width, height = sample.images[number].size
            for mark in marks:
                x, y = points[mark]
                assert 12 <= x <= width - 13
                assert 12 <= y <= height - 13


def test_points_of_a_pair_keep_their_distance_from_each_other(hpatches: Path) -> None:
    builder = _builder(hpatches, apart=25)
    pairs: dict[str, list[np.ndarray]] = {}
    for candidate in builder.candidates("test").candidates:
        made = builder.make("test", candidate, builder.draws("test", candidate.key))
        if isinstance(made, Sample):
            pairs.setdefault(candidate.key.partition("#")[0], []).append(np.array(made.meta["points"]["REF"]))
    apart = [np.hypot(*(a - b)) for points in pairs.values() for a, b in combinations(points, 2)]
    assert len(apart) > 20
    assert min(apart) >= 25


def test_a_point_is_the_same_whatever_was_made_before(hpatches: Path) -> None:
    first, second = _builder(hpatches), _builder(hpatches)
    last = first.candidates("test").candidates[-1]
    for candidate in second.candidates("test").candidates[-3:]:
        made = second.make("test", candidate, second.draws("test", candidate.key))
    alone = first.make("test", last, first.draws("test", last.key))
    assert isinstance(made, Sample)
    assert isinstance(alone, Sample)
    assert (made.meta, made.answer) == (alone.meta, alone.answer)


@pytest.mark.parametrize("size", [(640, 480), (1000, 700)])
def test_the_places_of_the_four_points_do_not_tell_the_right_one(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    builder, rng = VisualCorrespondence(tmp_path, VisualCorrespondenceRules(), 0), np.random.default_rng(0)
    found = []
    for _ in range(800):
        truth = tuple(rng.uniform(30, np.array(size) - 31).tolist())
        others = builder._others(truth, size, rng)
        if others is not None:
            found.append([truth, *others])
    assert len(found) > 790
    distances = np.linalg.norm(np.array(found)[:, :, None] - np.array(found)[:, None], axis=-1)
    middle = (distances.sum(-1).argmin(-1) == 0).mean(), (distances.max(-1).argmin(-1) == 0).mean()
    outer = (distances.sum(-1).argmax(-1) == 0).mean()
    # A quarter by chance, whose standard deviation is 1.5 %.
    assert all(0.18 < share < 0.32 for share in (*middle, outer))


def test_the_pixels_of_a_ring_do_not_tell_the_right_one(samples: list[Sample]) -> None:
    """A ring round the centre of a pixel is symmetric, another one is not: none may be the odd one out."""
    rows, columns = np.mgrid[-7:8, -7:8]
    centred = np.clip(2 / 2 + 0.5 - np.abs(np.hypot(columns, rows) - 4), 0, 1)
    off = {"right": [], "wrong": [], "REF": []}
    for sample in samples:
        for mark, (x, y) in sample.meta["points"].items():
            number = 0 if mark == "REF" else 1
            plain = np.asarray(Image.open(sample.inputs[number])).astype(float)[..., 0]
            shown = np.asarray(sample.images[number]).astype(float)[..., 0]
            place = np.s_[round(y) - 7 : round(y) + 8, round(x) - 7 : round(x) + 8]
            strength = ((shown - plain) / (255 - plain))[place] * (np.hypot(columns, rows) < 6)
            kind = mark if mark == "REF" else "right" if mark == sample.answer else "wrong"
            off[kind].append(np.abs(strength - centred).sum())
    medians = {kind: np.median(values) for kind, values in off.items()}
    assert medians["right"] > 3
    assert medians["wrong"] == pytest.approx(medians["right"], rel=0.25)
    assert medians["REF"] == pytest.approx(medians["right"], rel=0.25)
    four = np.array([off["right"], *(off["wrong"][k::3] for k in range(3))])
    assert 0.1 < (four.argmax(axis=0) == 0).mean() < 0.4


def test_letters_are_drawn_evenly(samples: list[Sample]) -> None:
    counts = Counter(sample.answer for sample in samples)
    assert set(counts) == set("ABCD")
    assert max(counts.values()) < 0.45 * len(samples)


def test_a_sequence_is_in_one_split_and_each_kind_in_all(hpatches: Path) -> None:
    names = {}
    for split in SPLITS:
        listed = _builder(hpatches).candidates(split).candidates
        names[split] = {candidate.key.split("/")[0] for candidate in listed}
        assert len(listed) == len(names[split]) * 10 * 3
    assert [len(names[split]) for split in SPLITS] == [16, 2, 2]
    assert len(set.union(*names.values())) == 20
    assert all({name[0] for name in names[split]} == {"i", "v"} for split in SPLITS)
    others = _builder(hpatches, seed=1).candidates("test").candidates
    assert {candidate.key.split("/")[0] for candidate in others} != names["test"]


def test_pairs_are_two_steps_apart_at_least(hpatches: Path) -> None:
    keys = {candidate.key.split("/")[1] for candidate in _builder(hpatches).candidates("test").candidates}
    pairs = {key.partition("#")[0] for key in keys}
    assert pairs == {"1-3", "1-4", "1-5", "1-6", "2-4", "2-5", "2-6", "3-5", "3-6", "4-6"}


def test_the_default_points_per_pair_suffice_for_the_papers_sizes() -> None:
    """116 sequences: 12 in test and in validation, 10 pairs each, and less than half of the points fail."""
    rules = VisualCorrespondenceRules()
    assert 12 * 10 * rules.per_pair >= 2 * rules.test
    assert (rules.train, rules.validation, rules.test) == (1000, 500, 700)


def test_the_regions_hold_the_points(hpatches: Path) -> None:
    builder = _builder(hpatches, region=30)
    candidate = builder.candidates("test").candidates[0]
    made = builder.make("test", candidate, builder.draws("test", candidate.key))
    assert isinstance(made, Sample)
    assert [box.image for box in made.bboxes] == [0, 1]
    for box, mark in zip(made.bboxes, ("REF", made.answer), strict=True):
        width, height = made.images[box.image].size
        x0, y0, x1, y1 = box.box
        x, y = made.meta["points"][mark]
        assert x0 * width < x + 0.5 < x1 * width
        assert y0 * height < y + 0.5 < y1 * height
        assert max((x1 - x0) * width, (y1 - y0) * height) <= 30 + 1e-9


def test_the_prompt_and_the_choices(samples: list[Sample]) -> None:
    sample = samples[0]
    assert sample.prompt.endswith("(D) Point D")
    assert sample.choices == ("Point A", "Point B", "Point C", "Point D")
    assert sample.question + "\n(A)" in sample.prompt
    assert sample.answer_type == "mcq"


def test_a_singular_homography_is_counted(make, tmp_path: Path) -> None:
    make("hpatches").write(tmp_path, count=1, singular=True)
    listing = _builder(tmp_path).candidates("train")
    # v_00/H_1_3 takes part in three of the ten pairs: 1-3, 3-5 and 3-6.
    assert listing.rejected == {"singular": 3}
    assert len(listing.candidates) == (20 - 3) * 3


@pytest.mark.parametrize(
    "text", ["1 0 0\n0 1 0\n", "1 0 0\n0 1 0\n0 0 x\n", "", "1 0 0\n0 1 nan\n0 0 1", "1 2\n3"]
)
def test_a_malformed_homography_is_named(make, tmp_path: Path, text: str) -> None:
    make("hpatches").write(tmp_path, count=1, malformed=text)
    with pytest.raises(RecordError, match=r"expected three rows .*v_00/H_1_3.*fix"):
        _builder(tmp_path).candidates("train")


def test_a_damaged_picture_is_counted(make, tmp_path: Path) -> None:
    make("hpatches").write(tmp_path, count=1, damaged=True)
    builder = _builder(tmp_path, per_pair=1)
    made = {c.key: builder.make("train", c, builder.draws("train", c.key)) for c in
            builder.candidates("train").candidates}  # fmt: skip
    bad = {key for key, one in made.items() if one == Rejection("unreadable_image")}
    assert bad == {f"v_00/{pair}#0" for pair in ("1-4", "2-4", "4-6")}


@pytest.mark.parametrize(
    ("rule", "rules"),
    [("no_reference_point", {"margin": 90}), ("no_distractor", {"nearest": 200, "farthest": 220})],
)
def test_pictures_too_small_for_the_rules_are_counted(
    hpatches: Path, rule: str, rules: dict[str, int]
) -> None:
    assert _made(_builder(hpatches, **rules), "test", 10) == [Rejection(rule)] * 6


def test_a_point_behind_the_camera_has_no_projection() -> None:
    matrix = np.array([[1.0, 0, 0], [0, 1, 0], [-0.02, 0, 1]])
    assert projected((10, 10), matrix) == pytest.approx((12.5, 12.5))
    assert np.isnan(projected((90, 10), matrix)).all()
    assert projected((10, 10), -matrix) == pytest.approx((12.5, 12.5))


def test_sequences_are_found_with_and_without_the_releases_folder(make, tmp_path: Path) -> None:
    base = make("hpatches").write(tmp_path, count=1)
    assert scenes(tmp_path) == scenes(base)
    assert [scene.name for scene in scenes(base)] == ["i_00", "v_00"]
    assert homography(scenes(base)[1].homographies[2]) == pytest.approx(
        make("hpatches").homography("v_00", 4)
    )


@pytest.mark.parametrize("missing", ["4.ppm", "H_1_6"])
def test_a_missing_file_is_named(make, tmp_path: Path, missing: str) -> None:
    base = make("hpatches").write(tmp_path, count=1)
    (base / "v_00" / missing).unlink()
    with pytest.raises(
        RecordError, match=f"expected the file {missing}, got none, at .*v_00.*; fix: download"
    ):
        scenes(tmp_path)


def test_the_release_of_patches_is_refused(make, tmp_path: Path) -> None:
    make("hpatches").write_patches(tmp_path / "hpatches-release")
    with pytest.raises(
        RecordError, match=r"got strips of patches .*fix: download .*hpatches-sequences-release"
    ):
        scenes(tmp_path / "hpatches-release")
    with pytest.raises(RecordError, match=r"expected folders i_\* and v_\*, got none"):
        scenes(tmp_path)
