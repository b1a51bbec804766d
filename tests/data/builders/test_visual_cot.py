"""Regions are those of the image's own pixels, and what cannot be one is counted."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.visual_cot import VisualCot, VisualCotRules
from latentvr.errors import RecordError, UserError

Make = Callable[[str], ModuleType]


def builder(root: Path, **rules: Any) -> VisualCot:
    return VisualCot(root, VisualCotRules(**rules), seed=0)


def made(root: Path, **rules: Any) -> dict[str, Sample | Rejection]:
    b = builder(root, **rules)
    return {
        f"{c.facts['dataset']}/{c.facts['image']}": b.make("train", c, b.draws("train", c.key))
        for c in b.candidates("train").candidates
    }


def test_each_data_set_gives_a_record_with_its_image(make: Make, tmp_path: Path) -> None:
    # Images of textcap lie with textvqa's, those of visual7w in v7w.
    cot = make("visual_cot")
    cot.write(tmp_path / "set")
    samples = made(tmp_path / "set")
    for dataset in cot.DATASETS:
        sample = samples[f"{dataset}/{dataset}.jpg"]
        assert isinstance(sample, Sample), dataset
        folder = cot.FOLDERS.get(dataset, dataset)
        assert sample.images == (tmp_path / "set" / "cot" / folder / f"{dataset}.jpg",)
        assert sample.task == f"Visual_CoT/{dataset}"
        assert sample.prompt == (f"What is in the {dataset} image?\nProvide a short and direct response.")
        assert (sample.answer, sample.answer_type) == (f"a {dataset} thing", "text")
        assert [box.box for box in sample.bboxes] == [pytest.approx((0.1, 0.1, 0.5, 0.5))]


def test_pixels_become_shares_of_the_sides(make: Make, tmp_path: Path) -> None:
    make("visual_cot").write(tmp_path / "set")
    samples = made(tmp_path / "set", datasets="gqa")
    assert [box.box for box in samples["gqa/two.jpg"].bboxes] == [(0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)]
    assert samples["gqa/border.jpg"].bboxes[0].box == pytest.approx((0, 1 / 6, 1, 1))
    # The file has half the sides that its row names.
    assert samples["gqa/half.jpg"].bboxes[0].box == (0.5, 0.5, 1, 1)
    assert samples["gqa/number.jpg"].answer == "7"


def test_awkward_rows_are_counted_by_rule(make: Make, tmp_path: Path) -> None:
    make("visual_cot").write(tmp_path / "set")
    b = builder(tmp_path / "set", datasets="gqa")
    assert b.candidates("train").rejected == {
        "empty_box": 1, "no_box": 1, "malformed_box": 1, "no_answer": 1,
    }  # fmt: skip
    assert b.notes()["questions with a box that is clipped, as far as their rows tell"] == {"train": 1 + 1}
    rejected = {
        key: sample.rule
        for key, sample in made(tmp_path / "set", datasets="gqa").items()
        if isinstance(sample, Rejection)
    }
    assert rejected == {
        "gqa/gone.jpg": "missing_image",
        "gqa/../../escape.jpg": "missing_image",
        "gqa/broken.jpg": "unreadable_image",
        "gqa/outside.jpg": "empty_box",
        "gqa/other.jpg": "size",
        "gqa/turned.jpg": "turned_by_exif",
    }


def test_boxes_can_be_dropped(make: Make, tmp_path: Path) -> None:
    # Rows whose boxes alone are wrong are then as good as any.
    make("visual_cot").write(tmp_path / "set")
    samples = made(tmp_path / "set", datasets="gqa", boxes="drop")
    kept = [sample for sample in samples.values() if isinstance(sample, Sample)]
    assert all(not sample.bboxes and "boxes" not in sample.meta for sample in kept)
    assert isinstance(samples["gqa/flat.jpg"], Sample)
    assert isinstance(samples["gqa/turned.jpg"], Sample)
    assert len(kept) == 11


def test_conversations_are_read_where_there_is_no_metadata(make: Make, tmp_path: Path) -> None:
    make("visual_cot").write_conversations(tmp_path)
    (sample,) = made(tmp_path).values()
    assert isinstance(sample, Sample)
    assert sample.question == "What is it?"
    assert (sample.answer, sample.task) == ("A dog", "Visual_CoT/flickr30k")
    assert [box.box for box in sample.bboxes] == [pytest.approx((0.1, 0.1, 0.5, 0.5))]
    assert made(tmp_path, datasets="gqa") == {}


def test_the_form_can_be_chosen(make: Make, tmp_path: Path) -> None:
    make("visual_cot").write_conversations(tmp_path)
    (tmp_path / "metadata").mkdir()
    row = {"question": "Q?", "answer": "B", "image": "x.jpg", "bboxs": [[0, 0, 8, 6]], "dataset": "flickr30k"}
    (tmp_path / "metadata" / "flickr30k_cot_train.jsonl").write_text(json.dumps(row) + "\n")
    assert [s.answer for s in made(tmp_path).values()] == ["B"]
    assert [s.answer for s in made(tmp_path, form="conversations").values()] == ["A dog"]
    # A row without width and height takes those of its file, which is told.
    b = builder(tmp_path)
    assert len(b.candidates("train").candidates) == 1
    assert b.notes()["questions with boxes and no size, taken to be in pixels of the file"] == {"train": 1}
    assert [box.box for s in made(tmp_path).values() for box in s.bboxes] == [pytest.approx((0, 0, 0.1, 0.1))]


def test_an_image_is_in_one_split(make: Make, tmp_path: Path) -> None:
    make("visual_cot").write(tmp_path / "set")
    b = builder(tmp_path / "set", validation_share=0.3, boxes="drop")
    train, validation = ({c.facts["image"] for c in b.candidates(s).candidates} for s in b.splits)
    assert train
    assert validation
    assert not train & validation
    assert builder(tmp_path / "set").size("validation") == 0


def test_what_is_missing_or_unknown_gives_a_sentence(make: Make, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"expected a folder metadata or viscot_363k.json, got neither"):
        made(tmp_path)
    with pytest.raises(UserError, match=r"expected data sets of cub, .*, got 'gqx', at .* fix: "):
        made(tmp_path, datasets="gqx")
    make("visual_cot").write(tmp_path / "set")
    (tmp_path / "set" / "metadata" / "vsr_cot_train.jsonl").unlink()
    with pytest.raises(RecordError, match=r"expected vsr_cot_train.jsonl in metadata, got none"):
        made(tmp_path / "set", datasets="gqa,vsr")


def test_nested_folders_belong_to_their_data_set(make: Make, tmp_path: Path) -> None:
    make("visual_cot").write_conversations(tmp_path)
    file = tmp_path / "viscot_363k.json"
    row = json.loads(file.read_text())[0]
    name = "cot/cub/001.Albatross/wing.jpg"
    file.write_text(json.dumps([{**row, "image": [name, f"{name}###[8, 6, 40, 30]"]}]))
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / row["image"][0]).rename(tmp_path / name)
    (sample,) = made(tmp_path, datasets="cub").values()
    assert (sample.task, sample.images) == ("Visual_CoT/cub", (tmp_path / name,))


def test_links_out_of_the_folder_are_counted_and_those_inside_followed(make: Make, tmp_path: Path) -> None:
    root = tmp_path / "set"
    make("visual_cot").write(root)
    (root / "cot" / "gqa").rename(root / "store")
    (root / "cot" / "gqa").symlink_to(root / "store")
    two = root / "store" / "two.jpg"
    two.rename(root / "2.jpg")
    two.symlink_to("../2.jpg")
    assert isinstance(made(root, datasets="gqa")["gqa/two.jpg"], Sample)
    (root / "cot" / "gqa").unlink()
    (root / "store").rename(tmp_path / "disk")
    (root / "cot" / "gqa").symlink_to(tmp_path / "disk")
    rules = {outcome.rule for outcome in made(root, datasets="gqa").values()}
    assert rules == {"link_out_of_root", "missing_image"}


def test_half_characters_are_counted(make: Make, tmp_path: Path) -> None:
    make("visual_cot").write_conversations(tmp_path)
    (tmp_path / "metadata").mkdir()
    row = {
        "question": "Q \ud800?",
        "answer": "B",
        "image": "x.jpg",
        "bboxs": [[0, 0, 8, 6]],
        "dataset": "gqa",
    }
    (tmp_path / "metadata" / "gqa_cot_train.jsonl").write_text(json.dumps(row) + "\n")
    assert builder(tmp_path).candidates("train").rejected == {"not_unicode": 1}


def test_the_instruction_is_not_called_the_papers() -> None:
    assert VisualCotRules().written()["instruction"]["provenance"] == "not in the paper"
