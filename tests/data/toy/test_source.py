"""Toy sources: deterministic, disjoint between splits, balanced, and true."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentvr.data.record import Record
from latentvr.data.toy import PRETRAINING_TASKS, SPLITS, TASKS, Toy, corpus, write
from latentvr.data.toy.scenes import COLOURS, PALETTE
from latentvr.data.toy.sources import photo_region, scans
from latentvr.data.toy.tasks import BY_NAME
from latentvr.errors import ImageError, RecordError

ALL = (*TASKS, *PRETRAINING_TASKS)


def _pixels(toy: Toy) -> list[bytes]:
    return [image.tobytes() for record in toy.records for image in toy.images(record)]


@pytest.mark.parametrize("task", ALL)
def test_an_example_does_not_depend_on_how_many_are_asked_for(task: str) -> None:
    """Breaks if one generator is shared between examples, or if the balance depends on n."""
    few, many = Toy([task], "train", 5, 3), Toy(["counting", task], "train", 12, 3)
    again = [record for record in many.records if record.task == task][:5]
    assert list(few.records) == again
    assert [image.tobytes() for record in again for image in many.images(record)] == _pixels(few)
    assert _pixels(Toy([task], "train", 5, 4)) != _pixels(few)


@pytest.mark.parametrize("task", ALL)
def test_answers_are_balanced(task: str) -> None:
    answers = BY_NAME[task].answers
    toy = Toy([task], "train", 5 * answers, 0)
    if task in ("row", "digit_at_letter"):
        counts = Counter(record.question for record in toy.records)
    else:
        counts = Counter(record.answer for record in toy.records)
    assert len(counts) == answers
    assert set(counts.values()) == {5}


def test_splits_share_no_scan_and_no_photo_pixel() -> None:
    used: dict[str, set[int]] = {}
    for split in SPLITS:
        toy = Toy(ALL, split, 40, 0)
        used[split] = {scan for record in toy.records for scan in record.meta.get("scans", ())}
        assert len(used[split]) > 100
        for record in toy.records:
            for x0, y0, x1, y1 in record.meta.get("regions", ()):
                left, top, right, bottom = photo_region(record.meta["photo"], split)
                assert left <= x0 < x1 <= right
                assert top <= y0 < y1 <= bottom
    assert not used["train"] & used["test"]
    assert not used["train"] & used["validation"]
    assert not used["validation"] & used["test"]
    bands = [photo_region("coffee.png", split) for split in SPLITS]
    assert bands[0][2] <= bands[1][0]
    assert bands[1][2] <= bands[2][0]


@pytest.mark.parametrize("task", ALL)
def test_records_have_the_promised_form(task: str) -> None:
    toy = Toy([task], "validation", 6, 0, size=128)
    for record in toy.records:
        assert all(image.mode == "RGB" and image.size == (128, 128) for image in toy.images(record))
        assert record.bboxes
        for box in record.bboxes:
            x0, y0, x1, y1 = box.box
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            assert box.image < len(record.images)
        if record.answer_type == "mcq":
            assert record.answer in "ABCD"[: len(record.choices)]
    assert len({record.id for record in toy.records}) == 6


def test_corpus_covers_every_word_of_every_record() -> None:
    """Breaks if a task says a word that the tokenizer has never seen."""
    words = {word for phrase in corpus() for word in phrase.split()}
    toy = Toy(ALL, "train", 40, 1)
    said = {word for record in toy.records for word in f"{record.prompt} {record.answer}".split()}
    assert said <= words
    assert len(words) < 100
    assert len(corpus()) == len(set(corpus()))


def _crop(toy: Toy, record: Record, box: int) -> np.ndarray:
    x0, y0, x1, y1 = record.bboxes[box].box
    image = np.asarray(toy.images(record)[record.bboxes[box].image]).astype(float)
    side = image.shape[0]
    return image[round(y0 * side) : round(y1 * side), round(x0 * side) : round(x1 * side)]


def test_counting_boxes_hold_digits_of_the_asked_colour() -> None:
    toy = Toy(["counting"], "train", 12, 0)
    for record in toy.records:
        assert len(record.bboxes) == int(record.answer)
        colour = COLOURS.index(record.question.split()[2])
        for box in range(len(record.bboxes)):
            pixels = _crop(toy, record, box).reshape(-1, 3)
            brightest = pixels[np.argmax(pixels.max(1))]
            assert np.argmin(np.abs(PALETTE - brightest).sum(1)) == colour


def test_localization_decoys_overlap_moderately_and_the_true_box_is_the_answer() -> None:
    for record in Toy(["localization"], "train", 40, 0).records:
        a, b = (np.array(box) for box in record.meta["boxes"])
        inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
        union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner
        assert 0.2 < inner / union < 0.5
        assert record.meta["boxes"]["AB".index(record.answer)] == record.bboxes[0].box


def test_jigsaw_answer_is_the_patch_that_was_cut_out() -> None:
    """The true patch continues the photo over the seam better than the decoy, nearly always."""
    toy = Toy(["jigsaw"], "train", 60, 0)
    right = 0
    for record in toy.records:
        whole, *patches = (np.asarray(image).astype(float) for image in toy.images(record))
        assert (whole[32:, 32:] == 0).all()
        seams = [
            np.abs(whole[32:, 31] - patch[::2, 0]).mean() + np.abs(whole[31, 32:] - patch[0, ::2]).mean()
            for patch in patches
        ]
        right += int(np.argmin(seams)) == "AB".index(record.answer)
    assert right >= 50


def test_similarity_has_one_odd_class() -> None:
    labels = scans()[1]
    for record in Toy(["similarity"], "test", 20, 0).records:
        digits = [int(labels[scan]) for scan in record.meta["scans"]]
        odd = digits["ABCD".index(record.answer)]
        assert digits.count(odd) == 1
        assert len(set(digits)) == 2
        assert len(set(record.meta["scans"])) == 4


def test_correspondence_box_shows_the_digit_of_the_ref_cell() -> None:
    """The true cell of the second image must have the hue of the framed cell of the first."""
    toy = Toy(["correspondence"], "train", 20, 0)
    for record in toy.records:
        first = (
            np.asarray(toy.images(record)[0]).astype(float).reshape(4, 16, 4, 16, 3).transpose(0, 2, 1, 3, 4)
        )
        framed = [cell for cell in first.reshape(16, 16, 16, 3) if (cell[15] == 255).all()]
        assert len(framed) == 1
        hues = []
        for cell in (framed[0], _crop(toy, record, 0)):
            ink = cell[1:14, 5:15].reshape(-1, 3)
            bright = ink[np.argmax(ink.max(1))]
            hues.append(
                np.argmin(np.abs(PALETTE / PALETTE.max(1, keepdims=True) - bright / bright.max()).sum(1))
            )
        assert hues[0] == hues[1]


def test_written_form_is_the_same_bytes_twice(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        toy = Toy(["jigsaw", "counting"], "test", 3, 0)
        write(toy, tmp_path / name)
        files.append(
            {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        )
    assert files[0] == files[1]
    assert len(files[0]) == 1 + 3 * 3 + 3
    row = json.loads((tmp_path / "a/records.jsonl").read_text().splitlines()[0])
    with Image.open(tmp_path / "a" / row["images"][0]) as image:
        assert image.tobytes() == toy.images(toy.records[0])[0].tobytes()


def test_write_never_overwrites_records(tmp_path: Path) -> None:
    toy = Toy(["row"], "test", 1, 0)
    write(toy, tmp_path)
    with pytest.raises(RecordError, match="expected a folder without records"):
        write(toy, tmp_path)


class _Hostile:
    """A source whose image name climbs out of the folder."""

    def __init__(self) -> None:
        self._toy = Toy(["counting"], "test", 1, 0)
        self.records = (replace(self._toy.records[0], images=("../leak.png",)),)

    def images(self, _record: Record) -> list[Image.Image]:
        return self._toy.images(self._toy.records[0])


def test_write_stays_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected a path relative to the image root"):
        write(_Hostile(), tmp_path / "inside")
    assert not (tmp_path / "leak.png").exists()


def test_unknown_task_is_named() -> None:
    with pytest.raises(RecordError, match="got 'chess'"):
        Toy(["chess"], "train", 1, 0)
