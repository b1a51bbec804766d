"""COCO's tables and folders: what is listed, what is a bad data set, and what is merely an odd row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latentvr.data.sets import coco
from latentvr.errors import ImageError, RecordError


@pytest.fixture
def root(make, tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    make("coco").write(folder, make("textures"))
    return folder


def test_only_the_data_set_s_own_pictures_are_listed(make, root: Path) -> None:
    made = make("coco")
    numbers = [*made.TRAIN, made.SMALL, made.DAMAGED, made.OTHER_SIZE]
    assert coco.pictures(root, "train") == sorted(made.name(number) for number in numbers)


def test_objects_have_corners_and_the_names_of_their_category_and_picture(root: Path) -> None:
    found, unknown = coco.objects(root, "train")
    assert unknown == 1
    assert [one.id for one in found] == sorted(one.id for one in found)
    by_id = {one.id: one for one in found}
    assert 909 not in by_id
    assert by_id[900].crowd
    assert not by_id[1].crowd
    assert by_id[906].box == (400.0, 100.0, 720.0, 340.0)
    assert (by_id[3].category, by_id[3].file) == ("cat", "train2017/000000000003.jpg")
    assert by_id[3].size == (640, 480)


def _changed(root: Path, change) -> None:
    path = root / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("annotations") and None, "'annotations'"),
        (lambda c: c["annotations"][1].pop("bbox") and None, "item 2 of 'annotations'"),
        (lambda c: c["annotations"][0].update(iscrowd="no"), "'iscrowd'"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "four numbers"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, "4"]), "four numbers"),
        (lambda c: c["annotations"][0].update(category_id=5), "category 5"),
        (lambda c: c["images"].append("x"), "of 'images'"),
        (lambda c: [len(c)], "a JSON object"),
    ],
)
def test_a_table_of_another_form_is_an_error_that_names_the_place(root: Path, change, said: str) -> None:
    _changed(root, change)
    with pytest.raises(RecordError, match="instances_val2017") as caught:
        coco.objects(root, "validation")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/hostname"])
def test_a_table_cannot_name_a_file_elsewhere(root: Path, name: str) -> None:
    _changed(root, lambda c: c["images"][0].update(file_name=name))
    with pytest.raises(ImageError, match="relative to the image root"):
        coco.objects(root, "validation")


def test_a_cut_off_table_and_a_missing_folder_are_said(root: Path, tmp_path: Path) -> None:
    path = root / "annotations/instances_val2017.json"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RecordError, match="unpack the file again"):
        coco.objects(root, "validation")
    path.unlink()
    with pytest.raises(RecordError, match="annotations_trainval2017"):
        coco.objects(root, "validation")
    with pytest.raises(RecordError, match="the folder val2017"):
        coco.pictures(tmp_path, "validation")
    (tmp_path / "val2017").mkdir()
    with pytest.raises(RecordError, match="none, at"):
        coco.pictures(tmp_path, "validation")
