"""Localisation: the right letter marks the annotated box; the wrong box is as wrong as it shall be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.localization import Localization, LocalizationRules
from latentvr.errors import RecordError, UserError

OFF = {"dedup": "off"}


@pytest.fixture(scope="module")
def made_coco(make):
    return make("coco")


@pytest.fixture(scope="module")
def root(make, made_coco, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "coco"
    made_coco.write(folder, make("textures"))
    return folder


def _made(root: Path, split: str, seed: int = 0, **rules: object) -> dict[str, Sample | Rejection]:
    builder = Localization(root, LocalizationRules(**{**OFF, **rules}), seed)
    listed = builder.candidates(split).candidates
    return {c.key: builder.make(split, c, builder.draws(split, c.key)) for c in listed}


@pytest.fixture(scope="module")
def samples(root: Path) -> list[Sample]:
    made = [one for seed in range(25) for one in _made(root, "train", seed, per_image=None).values()]
    return [one for one in made if isinstance(one, Sample)]


def _annotated(made_coco, sample: Sample) -> list[float]:
    """Corners of the annotation in the fixture's own table."""
    rows = [row for rows in made_coco.objects().values() for row in rows]
    x, y, width, height = next(row["bbox"] for row in rows if row["id"] == sample.meta["annotation_id"])
    return [x, y, x + width, y + height]


def _iou_by_counting(one: list[float], other: list[float]) -> float:
    """By points on a grid of a quarter of a pixel, rather than by the formula."""
    ys, xs = np.mgrid[0:480:0.25, 0:640:0.25]
    inside = [(xs >= box[0]) & (xs < box[2]) & (ys >= box[1]) & (ys < box[3]) for box in (one, other)]
    return float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum())


def test_the_recorded_box_is_the_annotated_one(made_coco, samples: list[Sample]) -> None:
    for sample in samples:
        truth = _annotated(made_coco, sample)
        assert sample.meta["gt_box"] == pytest.approx(truth, abs=0.51)
        (box,) = sample.bboxes
        assert box.image == 0
        pixels = np.array(box.box) * [640, 480, 640, 480]
        assert list(pixels) == pytest.approx(sample.meta["gt_box"], abs=1e-6)
        assert min(box.box) >= 0
        assert max(box.box) <= 1


def test_wrong_boxes_overlap_by_a_fifth_to_a_half_and_stay_in_the_picture(samples: list[Sample]) -> None:
    assert len(samples) > 200
    overlaps = []
    for sample in samples:
        truth, wrong = sample.meta["gt_box"], sample.meta["distractor_box"]
        across = min(truth[2], wrong[2]) - max(truth[0], wrong[0])
        down = min(truth[3], wrong[3]) - max(truth[1], wrong[1])
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (truth, wrong)]
        overlaps.append(across * down / (areas[0] + areas[1] - across * down))
        assert across > 0
        assert down > 0
        assert 0 <= wrong[0] < wrong[2] <= 640
        assert 0 <= wrong[1] < wrong[3] <= 480
    assert 0.2 <= min(overlaps) < 0.25
    assert 0.47 < max(overlaps) <= 0.5
    for sample, overlap in list(zip(samples, overlaps, strict=True))[:5]:
        counted = _iou_by_counting(sample.meta["gt_box"], sample.meta["distractor_box"])
        assert overlap == pytest.approx(counted, abs=0.01)
        assert overlap == pytest.approx(sample.meta["iou"], abs=1e-4)


def _objects(cut: float, count: int) -> list[tuple[float, ...]]:
    """Boxes like COCO's in a picture of 640 x 480, of which up to a share `cut` lies out of the frame."""
    rng, found = np.random.default_rng(0), []
    while len(found) < count:
        area, shape = rng.uniform(0.15, 0.5) * 640 * 480, np.exp(rng.uniform(-0.7, 0.7))
        size = np.minimum([np.sqrt(area * shape), np.sqrt(area / shape)], [640, 480])
        corner = rng.uniform(-cut * size, [640, 480] - size + cut * size)
        low, high = np.clip(corner, 0, [640, 480]), np.clip(corner + size, 0, [640, 480])
        if 0.15 <= np.prod(high - low) / (640 * 480) <= 0.5:
            found.append((*np.round(low, 2).tolist(), *np.round(high, 2).tolist()))
    return found


@pytest.mark.parametrize("cut", [0.0, 0.15, 0.35])
def test_no_rule_that_is_blind_to_the_object_finds_the_right_box(tmp_path: Path, cut: float) -> None:
    builder, rng = Localization(tmp_path, LocalizationRules(**OFF), 0), np.random.default_rng(1)
    truths = _objects(cut, 500)
    wrong = [builder._distractor(truth, (640, 480), rng) for truth in truths]
    assert None not in wrong
    both = np.stack([np.array(truths), np.array(wrong)])
    touches = ((both[..., :2] <= 1) | (both[..., 2:] >= [639, 479])).any(-1)
    # The miniature is of the kind that matters: photographs cut objects off.
    assert cut == 0 or touches[0].mean() > 0.5
    areas = np.prod(both[..., 2:] - both[..., :2], axis=-1)
    larger, tied = areas[0] > areas[1], touches[0] == touches[1]
    hits = {
        "larger": larger,
        "border": np.where(tied, 0.5, touches[0]),
        "border, else larger": np.where(tied, larger, touches[0]),
        "border, else smaller": np.where(tied, ~larger, touches[0]),
        "free, else larger": np.where(tied, larger, touches[1]),
    }
    assert {name: hit.mean() for name, hit in hits.items() if not 0.35 < hit.mean() < 0.65} == {}


def test_bounds_of_the_overlap_can_be_set(root: Path) -> None:
    made = _made(root, "train", min_iou=0.6, max_iou=0.7)
    assert all(0.6 <= one.meta["iou"] <= 0.7 for one in made.values() if isinstance(one, Sample))
    hopeless = _made(root, "train", min_iou=0.99, max_iou=1.0, tries=3)
    assert "no_distractor" in {one.rule for one in hopeless.values() if isinstance(one, Rejection)}


def _outline(box: list[float]) -> np.ndarray:
    """Mask of a line of three pixels within the edge of a box of rounded corners."""
    x0, y0, x1, y1 = (round(value) for value in box)
    mask = np.zeros((480, 640), dtype=bool)
    mask[y0:y1, x0:x1] = True
    mask[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] = False
    return mask


def test_the_letter_of_the_answer_stands_for_the_right_box(root: Path, samples: list[Sample]) -> None:
    colours = {"A": (255, 0, 0), "B": (0, 0, 255)}
    for sample in samples[:40]:
        shown = np.asarray(sample.images[0])
        other = "B" if sample.answer == "A" else "A"
        outlines = {sample.answer: sample.meta["gt_box"], other: sample.meta["distractor_box"]}
        for letter, box in outlines.items():
            # Lines of both boxes at the frame lie over each other, and a letter may cover a part of one.
            own = _outline(box) & ~_outline(outlines[other if letter == sample.answer else sample.answer])
            assert (shown[own] == colours[letter]).all(-1).mean() > 0.7
        with Image.open(root / sample.meta["source"]) as image:
            untouched = (shown == np.asarray(image.convert("RGB"))).all(-1)
        assert untouched.mean() > 0.8


def test_both_letters_occur_about_as_often(samples: list[Sample]) -> None:
    letters = Counter(sample.answer for sample in samples)
    assert min(letters["A"], letters["B"]) > 0.4 * len(samples)


def test_the_prompt_names_the_object_and_the_choices(samples: list[Sample]) -> None:
    for sample in samples:
        assert f"encloses the {sample.meta['category']}? Select from" in sample.prompt
        assert sample.prompt.endswith("\n(A) Box A\n(B) Box B")
        assert sample.choices == ("Box A", "Box B")
    assert {sample.meta["category"] for sample in samples} == {"cat", "dog", "bottle"}


def test_every_awkward_annotation_is_counted_under_its_rule(root: Path) -> None:
    listing = Localization(root, LocalizationRules(**OFF, per_image=None), 0).candidates("train")
    assert listing.rejected == {
        "unknown_image": 1, "crowd": 1, "too_small": 1, "too_big": 1, "thin_mask": 1, "empty_box": 3,
        "box_outside": 2, "missing_image": 1,
    }  # fmt: skip
    ids = {c.facts["id"] for c in listing.candidates}
    assert ids == {1, 2, 3, 4, 5, 6, 7, 8, 51, 52, 911, 912, 953}


def test_bounds_belong_to_what_is_allowed_and_boxes_a_little_outside_are_cut_off(
    samples: list[Sample],
) -> None:
    by_id = {sample.meta["annotation_id"]: sample for sample in samples}
    # A share of just 0.15, one of just 0.5 with a fill of just 0.6, and a box half a pixel out.
    assert {51, 52, 953} < set(by_id)
    assert by_id[953].meta["gt_box"] == [320.4, 239.5, 640.0, 480.0]


def test_a_picture_that_is_not_the_annotated_one_is_rejected(made_coco, root: Path) -> None:
    made = _made(root, "train")
    rejected = {key: one for key, one in made.items() if isinstance(one, Rejection)}
    assert {key: one.rule for key, one in rejected.items()} == {
        f"{made_coco.DAMAGED:012d}-911": "unreadable_image",
        f"{made_coco.OTHER_SIZE:012d}-912": "size",
    }


def test_coordinates_count_stored_pixels_whatever_exif_says(root: Path) -> None:
    (key,) = (key for key in _made(root, "train") if key.startswith("000000000005-"))
    sample = _made(root, "train")[key]
    assert isinstance(sample, Sample)
    assert sample.images[0].size == (640, 480)
    assert not sample.images[0].getexif()


def test_a_picture_gives_one_record_unless_more_are_asked_for(root: Path) -> None:
    def chosen(seed: int, count: int | None) -> list[int]:
        rules = LocalizationRules(**OFF, per_image=count)
        listing = Localization(root, rules, seed).candidates("train")
        left = 13 - len(listing.candidates)
        assert listing.rejected.get("other_object_drawn", 0) == left
        return [c.facts["id"] for c in listing.candidates if c.facts["image_id"] == 1]

    assert {tuple(chosen(seed, 1)) for seed in range(20)} == {(1,), (51,), (52,)}
    assert {len(chosen(seed, 2)) for seed in range(5)} == {2}
    assert chosen(0, None) == [1, 51, 52]


def test_a_picture_of_training_is_not_used_for_validation(made_coco, root: Path) -> None:
    listing = Localization(root, LocalizationRules(**OFF), 0).candidates("validation")
    assert {c.facts["image_id"] for c in listing.candidates} == set(made_coco.VALIDATION)
    assert listing.rejected == {"in_train": 1}


def test_pictures_of_blink_are_left_out_though_boxes_are_drawn_on_them(
    make, root: Path, tmp_path: Path
) -> None:
    pictures = []
    for number in (2, 3):
        with Image.open(root / f"train2017/{number:012d}.jpg") as image:
            pictures.append(image.convert("RGB").resize((512, 384)))
    ImageDraw.Draw(pictures[0]).rectangle((100, 90, 300, 260), outline="red", width=2)
    make("blink_rows").write(tmp_path, "Object_Localization", [[picture] for picture in pictures])
    rules = {"dedup": "on", "blink": str(tmp_path)}
    made = _made(root, "train", **rules)
    rejected = {
        key: one for key, one in made.items() if isinstance(one, Rejection) and one.rule == "duplicate"
    }
    assert {key[:12] for key in rejected} == {"000000000002", "000000000003"}
    assert all("val_Object_Localization_" in one.detail["reference"] for one in rejected.values())
    notes = Localization(root, LocalizationRules(**rules), 0).notes()["duplicates"]
    assert notes["references"] == 2
    assert set(notes["views"]) == {"raw", "blurred"}


def test_blink_or_a_word_that_it_is_not_wanted_is_asked_for_at_once(root: Path) -> None:
    with pytest.raises(UserError, match="blink=DIR, or dedup=off"):
        Localization(root, LocalizationRules(), 0).candidates("train")


@pytest.mark.parametrize("rules", [{"min_share": 0.6}, {"min_iou": 0.7}])
def test_bounds_the_wrong_way_round_are_refused(root: Path, rules: dict[str, float]) -> None:
    with pytest.raises(UserError, match="fix: raise max_"):
        Localization(root, LocalizationRules(**OFF, **rules), 0)


def test_annotations_and_both_folders_are_needed(root: Path, tmp_path: Path) -> None:
    for part in ("train2017", "annotations", "val2017"):
        with pytest.raises(RecordError, match=r"fix: (name|unpack)"):
            Localization(tmp_path, LocalizationRules(**OFF), 0).candidates("validation")
        (tmp_path / part).symlink_to(root / part)
    builder = Localization(tmp_path, LocalizationRules(**OFF), 0)
    # Folders may be links to another disk.
    candidate = builder.candidates("validation").candidates[0]
    assert isinstance(builder.make("validation", candidate, builder.draws("x")), Sample)
    assert {path.name for path in builder.tables()} == {"instances_train2017.json", "instances_val2017.json"}
