"""Plans of the test are the shortest ones over their maps, and images are found where they were unpacked."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.vsp import Vsp, VspRules, shortest_plan
from latentvr.data.record import Record
from latentvr.data.sets import vsp
from latentvr.errors import RecordError
from latentvr.evaluation.extract import is_correct
from latentvr.evaluation.path import reaches_goal

Make = Callable[[str], ModuleType]


def made(root: Path, split: str, **rules: Any) -> dict[str, Sample | Rejection]:
    b = Vsp(root, VspRules(**rules), seed=0)
    return {c.key: b.make(split, c, b.draws(split, c.key)) for c in b.candidates(split).candidates}


def record(sample: Sample) -> Record:
    return Record("x", "VSP", "test", ("i.png",), sample.prompt, sample.answer, "path", meta=sample.meta)


def test_plans_of_the_test_are_shortest_ways_that_reach_the_goal(make: Make, tmp_path: Path) -> None:
    maps = make("vsp").MAPS
    make("vsp").write(tmp_path)
    samples = made(tmp_path, "test")
    assert {key: sample.meta["plan"] for key, sample in samples.items()} == {
        "level3/31": "RRDDLL",
        "level3/32": "UURR",
        "level4/31": "RRRDDLD",
    }
    for key, sample in samples.items():
        level, number = key.split("/")
        assert reaches_goal(sample.meta["plan"], maps[level, number], key)
        assert sample.answer == rf"\boxed{{{sample.meta['plan']}}}"
        assert is_correct(sample.answer, record(sample))
        assert is_correct(r"\boxed{L}", record(sample)) is False
        assert sample.meta["map_desc"] == maps[level, number]


def test_maps_without_a_way_or_of_another_form_are_counted(make: Make, tmp_path: Path) -> None:
    make("vsp").write(tmp_path)
    listing = Vsp(tmp_path, VspRules(), seed=0).candidates("test")
    assert listing.rejected == {"no_plan": 1, "map": 3}


def test_training_plans_come_from_the_last_box(make: Make, tmp_path: Path) -> None:
    make("vsp").write(tmp_path)
    b = Vsp(tmp_path, VspRules(), seed=0)
    assert b.candidates("train").rejected == {"no_plan": 2}
    samples = made(tmp_path, "train")
    assert samples["train/000001"].answer == r"\boxed{D,D,R}"
    assert samples["train/000002"].meta["plan"] == "RR"
    assert samples["train/000005"] == Rejection("missing_image")
    bare = made(tmp_path, "train", answer="plan")["train/000001"]
    assert (bare.answer, bare.answer_type, bare.prompt.count("<image>")) == ("DDR", "path", 1)
    assert is_correct("DDR", record(bare))
    assert is_correct(r"\boxed{D,D,R}", record(bare))


@pytest.mark.parametrize("folder", ["", "vsp_spatial_planning", "data/vsp_spatial_planning"])
def test_images_are_found_wherever_the_set_lies(make: Make, tmp_path: Path, folder: str) -> None:
    # All levels have a map 31: an image must never be found by its number alone.
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    make("vsp").write(place)
    images = {row.id: row.image for row in vsp.rows(tmp_path, "test")}
    assert images["level3/31"] == place / "imgs_test/level3/img/31.png"
    assert images["level4/31"] == place / "imgs_test/level4/img/31.png"
    (place / "imgs_test/level4/img/31.png").unlink()
    assert not {row.id: row.image for row in vsp.rows(tmp_path, "test")}["level4/31"].exists()


def test_names_that_climb_find_nothing(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "set"
    place.mkdir()
    make("vsp").write(place, written="../")
    make("vsp").draw([[1, 2], [0, 0]], tmp_path / "imgs_test/level3/img/31.png")
    outcomes = list(made(place, "test").values())
    assert outcomes == [Rejection("missing_image")] * 3


def test_held_out_rows_are_in_one_split(make: Make, tmp_path: Path) -> None:
    make("vsp").write(tmp_path)
    b = Vsp(tmp_path, VspRules(validation_share=0.4), seed=0)
    train, validation = ({c.key for c in b.candidates(s).candidates} for s in ("train", "validation"))
    assert train | validation == {"train/000001", "train/000002", "train/000005"}
    assert not train & validation
    assert b.size("validation") is None
    assert Vsp(tmp_path, VspRules(), seed=0).size("validation") == 0


def test_labels_count_levels(make: Make, tmp_path: Path) -> None:
    make("vsp").write(tmp_path)
    labels = Counter(sample.label for sample in made(tmp_path, "test").values())
    assert labels == {"level 3": 2, "level 4": 1}


def test_a_map_twice_and_a_missing_file_give_sentences(make: Make, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"expected test_direct.jsonl, got none, at .*; fix: "):
        vsp.rows(tmp_path, "test")
    make("vsp").write(tmp_path)
    file = tmp_path / "test_direct.jsonl"
    file.write_text(file.read_text() + file.read_text().splitlines()[0] + "\n")
    with pytest.raises(
        RecordError, match=r"expected each map once, got 'level3/31' again, at test_direct.jsonl"
    ):
        vsp.rows(tmp_path, "test")


def test_a_way_round_holes_is_found_and_a_goal_behind_them_not() -> None:
    assert shortest_plan([[1, 2]]) == "R"
    assert shortest_plan([[2, -1, 1]]) is None
    assert shortest_plan([[1, -1, 2], [0, 0, 0]]) == "DRRU"


def test_names_and_texts_that_cannot_be_written_are_counted(make: Make, tmp_path: Path) -> None:
    make("vsp").draw([[1, 2], [0, 0]], tmp_path / "a.png")
    row = {"text_input": "Go.", "text_output": r"\boxed{R}", "image_input": "a.png"}
    rows = [
        row,
        {**row, "image_input": "x" * 5000},
        {**row, "image_input": "x\ud800.png"},
        {**row, "text_input": "Go \ud800."},
        {**row, "text_output": "\udfff \\boxed{R}"},
        {**row, "map_id": "\ud800", "map_desc": [[1, 2], [0, 0]]},
    ]
    (tmp_path / "train_direct.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert Vsp(tmp_path, VspRules(), 0).candidates("train").rejected == {"not_unicode": 3}
    samples = made(tmp_path, "train")
    assert isinstance(samples["train/000001"], Sample)
    assert list(samples.values())[1:] == [Rejection("missing_image")] * 2


def test_links_out_of_the_folder_are_counted_and_those_inside_followed(make: Make, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    make("vsp").write(root)
    for name, target in (("31.png", tmp_path / "31.png"), ("32.png", root / "32.png")):
        image = root / "imgs_test/level3/img" / name
        image.rename(target)
        image.symlink_to(target)
    samples = made(root, "test")
    assert samples["level3/31"] == Rejection("link_out_of_root")
    assert isinstance(samples["level3/32"], Sample)
