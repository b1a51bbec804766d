"""Jigsaw: the right patch is what the canvas lacks, the wrong one obeys the paper's three rules."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.jigsaw import Jigsaw, JigsawRules
from latentvr.errors import RecordError, UserError


@pytest.fixture(scope="module")
def made_coco(make):
    return make("coco")


@pytest.fixture(scope="module")
def root(make, made_coco, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "coco"
    made_coco.write(folder, make("textures"))
    return folder


def _made(root: Path, split: str, seed: int = 0, **rules: object) -> dict[str, Sample | Rejection]:
    builder = Jigsaw(root, JigsawRules(**rules), seed)
    listed = builder.candidates(split).candidates
    return {c.key: builder.make(split, c, builder.draws(split, c.key)) for c in listed}


@pytest.fixture(scope="module")
def samples(root: Path) -> list[Sample]:
    made = [one for seed in range(12) for one in _made(root, "train", seed).values()]
    return [one for one in made if isinstance(one, Sample)]


def _stored(root: Path, sample: Sample) -> np.ndarray:
    """The photograph as stored, opened by other means than the builder's."""
    with Image.open(root / sample.meta["source"]) as image:
        return np.asarray(image.convert("RGB"))


def _cut(pixels: np.ndarray, box: list[int]) -> np.ndarray:
    return pixels[box[1] : box[3], box[0] : box[2]]


def test_the_right_patch_completes_the_canvas_pixel_by_pixel(root: Path, samples: list[Sample]) -> None:
    for sample in samples:
        canvas, *patches = (np.asarray(image) for image in sample.images)
        right = patches["AB".index(sample.answer)]
        height, width = canvas.shape[0] // 2, canvas.shape[1] // 2
        assert right.shape == (height, width, 3)
        assert not canvas[height:, width:].any()
        whole = canvas.copy()
        whole[height:, width:] = right
        np.testing.assert_array_equal(whole, _cut(_stored(root, sample), sample.meta["canvas_box"]))


def test_the_wrong_patch_is_the_photograph_at_its_box(root: Path, samples: list[Sample]) -> None:
    for sample in samples:
        wrong = np.asarray(sample.images[2 - "AB".index(sample.answer)])
        np.testing.assert_array_equal(wrong, _cut(_stored(root, sample), sample.meta["distractor_box"]))


def _keeps_the_rules(sample: Sample, picture: tuple[int, int], fraction: float) -> None:
    canvas, truth, wrong = (sample.meta[key] for key in ("canvas_box", "gt_box", "distractor_box"))
    assert 0 <= wrong[0] < wrong[2] <= picture[0]
    assert 0 <= wrong[1] < wrong[3] <= picture[1]
    pixels = np.zeros((picture[1], picture[0]), dtype=int)
    for value, box in ((1, canvas), (2, truth), (4, wrong)):
        pixels[box[1] : box[3], box[0] : box[2]] += value
    seen = set(np.unique(pixels))
    assert not seen & {4 + 2, 4 + 2 + 1}
    assert 4 + 1 in seen
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (truth, wrong)]
    shorter = min(canvas[2] - canvas[0], canvas[3] - canvas[1])
    assert math.dist(*centres) >= fraction * shorter


@pytest.mark.parametrize("fraction", [0.5, 1.0, 1.6])
def test_the_wrong_patch_meets_the_canvas_misses_the_truth_and_is_far(root: Path, fraction: float) -> None:
    count = 0
    for seed in range(6):
        for one in _made(root, "train", seed, min_distance=fraction).values():
            if isinstance(one, Sample):
                size = _stored(root, one).shape
                _keeps_the_rules(one, (size[1], size[0]), fraction)
                count += 1
    assert count > 20


@pytest.mark.parametrize("fraction", [0.5, 1.1])
def test_wrong_patches_are_all_that_the_rules_allow(tmp_path: Path, fraction: float) -> None:
    """Of a tiny picture all are drawn, and none that overlaps the truth by a pixel or misses the canvas."""
    (tmp_path / "train2017").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (4, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "train2017/1.jpg", format="PNG")
    rules = JigsawRules(width=4, min_height=2, max_height=2, min_distance=fraction)
    builder = Jigsaw(tmp_path, rules, 0)
    (candidate,) = builder.candidates("train").candidates
    drawn: dict[tuple[int, ...], set[tuple[int, int]]] = {}
    for seed in range(1500):
        meta = builder.make("train", candidate, np.random.default_rng(seed)).meta
        drawn.setdefault(tuple(meta["canvas_box"]), set()).add(tuple(meta["distractor_box"][:2]))
    assert set(drawn) == {(x, y, x + 4, y + 2) for x in range(6) for y in range(3)}
    for (left, top, right, bottom), found in drawn.items():
        truth = {(x, bottom - 1) for x in (right - 2, right - 1)}
        canvas = {(x, y) for x in range(left, right) for y in range(top, bottom)}
        allowed = set()
        for x, y in ((x, y) for x in range(8) for y in range(4)):
            patch = {(x, y), (x + 1, y)}
            far = math.dist((x, y), (right - 2, bottom - 1)) >= fraction * 2
            if patch & canvas and not patch & truth and far:
                allowed.add((x, y))
        assert found == allowed


def test_wrong_patches_reach_out_of_the_canvas_on_every_side(samples: list[Sample]) -> None:
    out = np.zeros(4, dtype=int)
    for sample in samples:
        canvas, wrong = (np.array(sample.meta[key]) for key in ("canvas_box", "distractor_box"))
        out += (wrong - canvas) * [1, 1, -1, -1] < 0
    assert out.min() > 3


def test_canvases_are_400_wide_and_of_even_heights_from_170_to_230(samples: list[Sample]) -> None:
    sizes = Counter(sample.images[0].size for sample in samples)
    assert {width for width, _ in sizes} == {400}
    heights = {height for _, height in sizes}
    assert not {height % 2 for height in heights} - {0}
    assert 170 <= min(heights) < 180
    assert 220 < max(heights) <= 230
    corners = {tuple(sample.meta["canvas_box"][:2]) for sample in samples}
    assert len(corners) > 0.9 * len(samples)


@pytest.mark.parametrize(("low", "high"), [(170, 170), (171, 173), (170, 171)])
def test_one_even_height_is_enough(root: Path, low: int, high: int) -> None:
    made = _made(root, "validation", min_height=low, max_height=high)
    heights = {one.images[0].height for one in made.values() if isinstance(one, Sample)}
    assert heights == {low + low % 2}


@pytest.mark.parametrize(
    ("rules", "said"),
    [({"width": 401}, "fix: width=402"), ({"min_height": 171, "max_height": 171}, "raise max_height")],
)
def test_a_canvas_without_equal_quarters_is_refused(root: Path, rules: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Jigsaw(root, JigsawRules(**rules), 0)


def test_both_letters_occur_about_as_often(samples: list[Sample]) -> None:
    letters = Counter(sample.answer for sample in samples)
    assert set(letters) == {"A", "B"}
    assert min(letters.values()) > 0.35 * len(samples)


def test_the_question_is_that_of_the_task(samples: list[Sample]) -> None:
    sample = samples[0]
    assert sample.choices == ("the second image", "the third image")
    assert sample.prompt.endswith("(A) the second image\n(B) the third image\n")
    assert sample.question.endswith("compare the edges of the images.\nSelect from the following choices.")
    assert (sample.answer_type, len(sample.images)) == ("mcq", 3)


def test_awkward_pictures_are_rejected_by_name(made_coco, root: Path) -> None:
    made = _made(root, "train")
    rules = {key: one.rule for key, one in made.items() if isinstance(one, Rejection)}
    small, damaged = (f"{number:012d}" for number in (made_coco.SMALL, made_coco.DAMAGED))
    assert rules == {small: "too_small", damaged: "unreadable_image"}
    # Grey and CMYK pictures and one with an EXIF turn are among the samples.
    assert {f"{number:012d}" for number in (3, 4, 5)} < set(made) - set(rules)


@pytest.mark.parametrize(
    ("size", "accepted"), [((400, 230), True), ((399, 600), False), ((600, 229), False), ((400, 600), True)]
)
def test_a_picture_must_hold_the_largest_canvas(
    make, tmp_path: Path, size: tuple[int, int], accepted: bool
) -> None:
    (tmp_path / "train2017").mkdir()
    make("textures").texture(1, size).save(tmp_path / "train2017/1.jpg")
    for seed in range(5):
        made = _made(tmp_path, "train", seed)["1"]
        assert isinstance(made, Sample) if accepted else made == Rejection("too_small")


def test_a_picture_without_a_far_patch_and_one_of_equal_patches_are_rejected(make, tmp_path: Path) -> None:
    (tmp_path / "train2017").mkdir()
    make("textures").texture(1, (400, 230)).save(tmp_path / "train2017/1.jpg")
    Image.new("RGB", (500, 400), "grey").save(tmp_path / "train2017/2.jpg")
    assert _made(tmp_path, "train", min_distance=3.0)["1"] == Rejection("no_distractor")
    assert _made(tmp_path, "train")["2"] == Rejection("same_patches")


def test_a_picture_of_training_is_not_used_for_validation(made_coco, root: Path) -> None:
    listing = Jigsaw(root, JigsawRules(), 0).candidates("validation")
    assert {c.key for c in listing.candidates} == {f"{number:012d}" for number in made_coco.VALIDATION}
    assert listing.rejected == {"in_train": 1}


def test_validation_is_not_listed_without_the_folder_of_training(make, tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    make("textures").texture(1, (500, 400)).save(tmp_path / "val2017/1.jpg")
    with pytest.raises(RecordError, match="train2017"):
        Jigsaw(tmp_path, JigsawRules(), 0).candidates("validation")


def test_a_seed_decides_everything(root: Path) -> None:
    def boxes(seed: int) -> list[object]:
        made = _made(root, "train", seed).values()
        return [(one.meta, one.answer) for one in made if isinstance(one, Sample)]

    assert boxes(3) == boxes(3)
    assert boxes(3) != boxes(4)
