"""Whole builds of every task on miniatures: what is written does not depend on workers, kills or restarts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from latentvr.data.builders.journal import FOLDER
from latentvr.data.builders.making import Recipe
from latentvr.data.builders.registry import BUILDERS, find, parse_rules
from latentvr.data.builders.run import build
from latentvr.data.check import check
from latentvr.errors import RecordError, UserError

Make = Callable[[str], ModuleType]
#: Miniature and parameters of each task; "{}" stands for the folder of the miniature.
BUILDS: dict[str, tuple[str, list[str]]] = {
    "counting": ("pixmo", ["train=6", "validation=all", "test=all"]),
    "jigsaw": ("coco", ["train=4", "validation=1"]),
    "localization": ("coco", ["train=1", "validation=1", "dedup=off"]),
    "visual_correspondence": (
        "hpatches",
        [
            "train=16",
            "validation=3",
            "test=3",
            "radius=3",
            "margin=10",
            "apart=8",
            "nearest=8",
            "farthest=60",
        ],
    ),
    "art_style": ("artbench", ["train=6", "validation=3", "dedup=off"]),
    "semantic_correspondence": (
        "spair",
        ["train=3", "validation=1", "dedup=off", "held_out=0.5", "radius=3", "nearest=5", "margin=2"],
    ),
    "functional_correspondence": ("funkpoint", ["train=all", "nearest=25", "radius=4", "line=2"]),
    "relative_reflectance": (
        "mid",
        ["train=24", "validation=8", "disk=3", "circle=4", "line=1", "distance=12"],
    ),
    "visual_similarity": ("nights", ["train=1", "validation=1", "dedup=off"]),
    "visual_cot": ("visual_cot", ["train=all"]),
    "virl39k": ("virl39k", ["train=all"]),
    "sat": ("sat", []),
    "vsp": ("vsp", []),
}


def recipe(name: str, root: Path, make: Make, seed: int = 3) -> Recipe:
    maker, rules = BUILDS[name]
    # Parts of a split need pictures enough; two data sets come in two forms.
    more = {"spair": {"count": 8}, "funkpoint": {"count": 60}}.get(maker, {})
    if maker == "sat":
        make(maker).write_parquet(root / "SAT_train.parquet")
        make(maker).write_parquet(root / "SAT_val.parquet")
    elif maker in ("coco", "pixmo", "artbench", "nights"):
        make(maker).write(root, make("textures"))
    else:
        make(maker).write(root, **more)
    builder = find(name)
    return Recipe(builder, root, parse_rules(builder, rules), seed)


def bytes_of(out: Path) -> dict[str, str]:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_there_is_a_miniature_of_every_task() -> None:
    assert list(BUILDS) == list(BUILDERS)


@pytest.mark.parametrize("name", BUILDS)
def test_records_are_the_same_for_two_workers_and_after_a_restart(
    name: str, make: Make, tmp_path: Path
) -> None:
    what = recipe(name, tmp_path / "root", make)
    manifest = build(what, tmp_path / "a")
    build(what, tmp_path / "b", workers=2)
    assert bytes_of(tmp_path / "b") == bytes_of(tmp_path / "a")

    seen = []

    def stop(*_: Any) -> None:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(what, tmp_path / "c", told=stop)
    assert not (tmp_path / "c" / "manifest.json").exists()
    build(what, tmp_path / "c")
    assert bytes_of(tmp_path / "c") == bytes_of(tmp_path / "a")
    assert json.loads((tmp_path / "a" / "manifest.json").read_text()) == manifest

    # Nor does it matter where the data set lies.
    shutil.copytree(what.root, tmp_path / "another place", symlinks=True)
    build(Recipe(what.builder, tmp_path / "another place", what.rules, what.seed), tmp_path / "d")
    assert bytes_of(tmp_path / "d") == bytes_of(tmp_path / "a")


@pytest.mark.parametrize("name", BUILDS)
def test_what_is_built_can_be_read(name: str, make: Make, tmp_path: Path) -> None:
    what = recipe(name, tmp_path / "root", make)
    manifest = build(what, tmp_path / "out")
    for split, counts in manifest["splits"].items():
        if counts["records"]:
            report = check(tmp_path / "out" / f"{split}.jsonl", None)
            assert report.ok, report.bad
            assert report.n_rows == counts["records"] == sum(counts["labels"].values())
        # Every candidate that was tried is a record or is counted by the rule that rejects it.
        builder = what.open()
        listed = builder.candidates(split).rejected if builder.size(split) != 0 else {}
        made = sum(counts["rejected"].values()) - sum(listed.values())
        assert counts["records"] + made == counts["tried"]
    sums = (tmp_path / "out" / "inputs.sha256").read_text().splitlines()
    for line in sums:
        digest, path = line.split("  ")
        assert hashlib.sha256((tmp_path / "root" / path).read_bytes()).hexdigest() == digest
    assert len(sums) == manifest["inputs"]["files"] > 0
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_another_seed_gives_other_records(make: Make, tmp_path: Path) -> None:
    build(recipe("jigsaw", tmp_path / "root", make), tmp_path / "a")
    again = recipe("jigsaw", tmp_path / "again", make, seed=4)
    build(again, tmp_path / "b")
    assert (tmp_path / "a" / "train.jsonl").read_bytes() != (tmp_path / "b" / "train.jsonl").read_bytes()


def test_a_build_that_was_killed_goes_on(make: Make, tmp_path: Path) -> None:
    root = tmp_path / "root"
    what = recipe("relative_reflectance", root, make)
    build(what, tmp_path / "whole")
    arguments = ["relative_reflectance", *BUILDS["relative_reflectance"][1], "--root", str(root)]
    arguments += ["--out", str(tmp_path / "killed"), "--seed", "3", "--workers", "2"]
    command = [sys.executable, "-m", "latentvr", "data", "build", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    journal = tmp_path / "killed" / FOLDER / "train.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = journal.read_bytes().count(b"\n") if journal.exists() else 0
    subprocess.run(command, check=True, capture_output=True)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    assert done >= 3


def test_a_line_that_a_kill_cut_off_is_made_anew(make: Make, tmp_path: Path) -> None:
    what = recipe("jigsaw", tmp_path / "root", make)
    build(what, tmp_path / "whole")

    def stop(_split: str, done: int, _wanted: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(what, tmp_path / "cut", told=stop)
    journal = tmp_path / "cut" / FOLDER / "train.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    build(what, tmp_path / "cut")
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")


def test_a_folder_is_not_written_over(make: Make, tmp_path: Path) -> None:
    what = recipe("jigsaw", tmp_path / "root", make)
    build(what, tmp_path / "out")
    with pytest.raises(UserError, match="got a complete build"):
        build(what, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(UserError, match="got one with other files"):
        build(what, tmp_path / "mine")


def test_a_build_does_not_go_on_with_other_rules(make: Make, tmp_path: Path) -> None:
    what = recipe("jigsaw", tmp_path / "root", make)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(what, tmp_path / "out", told=stop)
    other = Recipe(what.builder, what.root, parse_rules(what.builder, ["train=3", "validation=1"]), 3)
    with pytest.raises(UserError, match="expected to go on with the same rules, got others"):
        build(other, tmp_path / "out")


def test_a_build_does_not_go_on_in_a_folder_that_has_changed(make: Make, tmp_path: Path) -> None:
    """Other candidates are another order: kept answers would be given to other records' pictures."""
    what = recipe("jigsaw", tmp_path / "root", make)

    def stop(_split: str, done: int, _wanted: int | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(what, tmp_path / "out", told=stop)
    pictures = sorted((tmp_path / "root" / "train2017").glob("0*.jpg"))
    (tmp_path / "root" / "train2017" / "000000999999.jpg").write_bytes(pictures[0].read_bytes())
    with pytest.raises(UserError, match="expected to go on with the same candidates, got others"):
        build(what, tmp_path / "out")


def test_a_split_without_candidates_is_no_build(make: Make, tmp_path: Path) -> None:
    make("visual_cot").write(tmp_path / "root")
    for table in (tmp_path / "root" / "metadata").iterdir():
        table.write_text("")
    builder = find("visual_cot")
    with pytest.raises(RecordError, match="expected some records of visual_cot, got 0 from 0 candidates"):
        build(Recipe(builder, tmp_path / "root", parse_rules(builder, []), 0), tmp_path / "out")


def test_nothing_is_read_for_a_split_of_no_records(make: Make, tmp_path: Path) -> None:
    make("coco").write(tmp_path / "root", make("textures"))
    shutil.rmtree(tmp_path / "root" / "val2017")
    builder = find("jigsaw")
    what = Recipe(builder, tmp_path / "root", parse_rules(builder, ["train=2", "validation=0"]), 3)
    assert build(what, tmp_path / "out")["splits"]["validation"]["records"] == 0


def test_too_few_candidates_are_told_with_the_reasons(make: Make, tmp_path: Path) -> None:
    what = recipe("jigsaw", tmp_path / "root", make)
    many = Recipe(what.builder, what.root, parse_rules(what.builder, ["train=500"]), 3)
    with pytest.raises(RecordError, match=r"expected 500 records of jigsaw, got \d+ from .*too_small 1"):
        build(many, tmp_path / "out")


def test_images_can_be_linked(make: Make, tmp_path: Path) -> None:
    make("virl39k").write(tmp_path / "root")
    for name in ("Processed-1.jpg", "Processed-2.jpg"):
        # A link to a file: it is the file that has to be linked.
        file = tmp_path / "root" / "images" / name
        file.rename(tmp_path / "root" / f"stored-{name}")
        file.symlink_to(f"../stored-{name}")
    builder = find("virl39k")
    linked = Recipe(builder, tmp_path / "root", parse_rules(builder, ["images=link"]), 0)
    build(linked, tmp_path / "out")
    images = list((tmp_path / "out" / "images").rglob("*.jpg"))
    assert images
    assert all(image.stat().st_nlink > 1 and not image.is_symlink() for image in images)


def test_a_wrong_root_or_split_is_told(make: Make, tmp_path: Path) -> None:
    what = recipe("jigsaw", tmp_path / "root", make)
    with pytest.raises(UserError, match="expected splits of train, validation, got 'val'"):
        build(what, tmp_path / "out", ["val"])
    gone = Recipe(what.builder, tmp_path / "gone", what.rules, 3)
    with pytest.raises(UserError, match="expected the data set's folder, got none"):
        build(gone, tmp_path / "out")
