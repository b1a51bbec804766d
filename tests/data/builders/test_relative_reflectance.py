"""Labels follow the albedo and not the light, and every disk lies where the albedo is known."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentvr.data.builders.albedo import read_albedo
from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.relative_reflectance import (
    RelativeReflectance,
    RelativeReflectanceRules,
    disk_mean,
    relative_difference,
)
from latentvr.errors import RecordError, UserError

Make = Callable[[str], ModuleType]
SMALL: dict[str, Any] = {"disk": 3, "circle": 4, "line": 1, "distance": 12.0}


def builder(root: Path, **rules: Any) -> RelativeReflectance:
    return RelativeReflectance(root, RelativeReflectanceRules(**{**SMALL, **rules}), seed=0)


def made(b: RelativeReflectance, split: str = "train") -> list[tuple[str, Sample | Rejection]]:
    listed = b.candidates(split).candidates
    return [(c.stratum, b.make(split, c, b.draws(split, c.key))) for c in listed]


def step_of(mid: ModuleType, x: float) -> float:
    return mid.STEPS[int(x * len(mid.STEPS) // mid.WIDTH)]


def test_labels_are_those_of_known_steps_under_every_light(make: Make, tmp_path: Path) -> None:
    # Were the shaded picture looked at, its ramp from 0.05 to 1 would turn most answers round.
    mid = make("mid")
    mid.write(tmp_path)
    answers: Counter[str] = Counter()
    for stratum, sample in made(builder(tmp_path)):
        assert isinstance(sample, Sample)
        (xa, ya), (xb, yb) = sample.meta["points"]
        assert np.hypot(xa - xb, ya - yb) >= 12
        # Disks may lie over a step; those that do not have the luminance of one.
        inner = all(abs(x - edge) > 4 for x in (xa, xb) for edge in (40, 80))
        if inner:
            a, b = step_of(mid, xa), step_of(mid, xb)
            assert sample.meta["luminance"] == pytest.approx([a, b], rel=1e-5)
            wanted = "C" if a == b or {a, b} == {0.40, 0.38} else "A" if a < b else "B"
            assert sample.answer == wanted
        assert (sample.answer == "C") == (stratum == "same")
        answers[sample.answer] += 1
    assert answers["C"] == 15  # a quarter of 60, and darker points on both sides
    assert min(answers["A"], answers["B"]) > 10


@pytest.mark.parametrize(
    ("values", "difference"),
    [((0.38, 0.40), 0.05), ((0.40, 0.38), 0.05), ((0.2, 0.4), 0.5), ((0.0, 0.0), 0.0)],
)
def test_the_difference_is_taken_by_the_larger_one(values: tuple[float, float], difference: float) -> None:
    assert relative_difference(*values) == pytest.approx(difference)


def test_circles_are_drawn_at_the_points_and_nothing_else_changes(make: Make, tmp_path: Path) -> None:
    make("mid").write(tmp_path, scenes=("attic", "bath"))
    _, sample = made(builder(tmp_path))[0]
    assert isinstance(sample, Sample)
    before = np.asarray(Image.open(tmp_path / sample.meta["source"]).convert("RGB")).astype(int)
    changed = np.abs(np.asarray(sample.images[0]).astype(int) - before).sum(-1) > 0
    for x, y in sample.meta["points"]:
        assert changed[y, x - 4] or changed[y, x + 4] or changed[y - 4, x]
        assert 5 <= x < before.shape[1] - 5
        assert 5 <= y < before.shape[0] - 5
    assert 0 < changed.mean() < 0.2
    assert sample.choices == ("A is darker", "B is darker", "About the same")


def test_a_pair_is_in_one_split_and_a_scene_too_if_asked(make: Make, tmp_path: Path) -> None:
    make("mid").write(tmp_path)
    for disjoint in (False, True):
        b = builder(tmp_path, scene_disjoint=disjoint)
        train, validation = ({c.key for c in b.candidates(s).candidates} for s in ("train", "validation"))
        assert not train & validation
        assert len(train | validation) == 75
        shared = {key.split("/")[0] for key in train} & {key.split("/")[0] for key in validation}
        assert bool(shared) != disjoint


def test_scenes_of_the_test_split_are_left_out(make: Make, tmp_path: Path) -> None:
    make("mid").write(tmp_path)
    listing = builder(tmp_path).candidates("train")
    assert listing.rejected == {"test_scene": 25}
    assert not any(c.key.startswith("everett") for c in listing.candidates)


def test_points_of_unknown_albedo_are_not_chosen(make: Make, tmp_path: Path) -> None:
    # The left half is zero or not a number: a disk there would be "darker" than anything.
    mid = make("mid")
    mid.write(tmp_path, scenes=("attic", "bath"), gap=True)
    for stratum, sample in made(builder(tmp_path)):
        if isinstance(sample, Sample):
            assert all(x - 3 >= mid.WIDTH // 2 for x, _ in sample.meta["points"]), stratum


def test_no_pair_of_the_wanted_kind_is_a_rejection(make: Make, tmp_path: Path) -> None:
    make("mid").write(tmp_path, scenes=("attic", "bath"))
    outcomes = made(builder(tmp_path, threshold=1.0))
    assert {outcome.rule for stratum, outcome in outcomes if stratum == "different"} == {"no_pair"}
    assert all(isinstance(outcome, Sample) for stratum, outcome in outcomes if stratum == "same")
    assert {o.rule for _, o in made(builder(tmp_path, disk=60))} == {"no_pair"}


@pytest.mark.parametrize("size", [(160, 240), (40, 60)])
def test_albedo_of_another_resolution_is_scaled(make: Make, tmp_path: Path, size: tuple[int, int]) -> None:
    mid = make("mid")
    mid.write(tmp_path, scenes=("attic", "bath"), albedo_size=size)
    for _, sample in made(builder(tmp_path)):
        assert isinstance(sample, Sample)
        assert sample.meta["albedo_scale"] == [size[1] / mid.WIDTH, size[0] / mid.HEIGHT]
        (xa, _), (xb, _) = sample.meta["points"]
        if all(abs(x - edge) > 6 for x in (xa, xb) for edge in (40, 80)):
            wanted = [step_of(mid, xa), step_of(mid, xb)]
            assert sample.meta["luminance"] == pytest.approx(wanted, rel=1e-5)


def test_albedo_of_another_shape_is_a_rejection(make: Make, tmp_path: Path) -> None:
    make("mid").write(tmp_path, scenes=("attic", "bath"), albedo_size=(80, 80))
    assert {o.rule for _, o in made(builder(tmp_path)) if isinstance(o, Rejection)} == {"size"}


@pytest.mark.parametrize("depth", ["", "midi_train_albedo"])
def test_albedo_may_be_in_a_folder_of_its_own(make: Make, tmp_path: Path, depth: str) -> None:
    make("mid").write(tmp_path / "images" / "unpacked", albedo=tmp_path / "albedo" / depth, kind="png")
    b = builder(tmp_path / "images", albedo=str(tmp_path / "albedo"))
    _, sample = made(b)[0]
    assert isinstance(sample, Sample)
    assert sample.inputs[1].name == "albedo.png"
    with pytest.raises(RecordError, match="fix: correct albedo=DIR"):
        builder(tmp_path / "images", albedo=str(tmp_path / "none")).candidates("train")


def test_a_damaged_image_is_a_rejection(make: Make, tmp_path: Path) -> None:
    make("mid").write(tmp_path, scenes=("attic",))
    file = tmp_path / "attic" / "dir_7_mip2.jpg"
    file.write_bytes(file.read_bytes()[:300])
    b = builder(tmp_path)
    listed = [(s, c) for s in b.splits for c in b.candidates(s).candidates]
    results = {c.key: b.make(split, c, b.draws(split, c.key)) for split, c in listed}
    bad = {key: one for key, one in results.items() if isinstance(one, Rejection)}
    assert bad == {"attic/dir_7": Rejection("unreadable_image")}
    assert len(results) == 25


def test_scenes_without_albedo_are_counted(make: Make, tmp_path: Path) -> None:
    make("mid").write(tmp_path, kind="none")
    assert builder(tmp_path).candidates("train").rejected == {"test_scene": 25, "no_albedo": 75}


def test_png_albedo_is_made_linear(make: Make, tmp_path: Path) -> None:
    mid = make("mid")
    mid.write(tmp_path, scenes=("attic",), kind="png")
    read = read_albedo(tmp_path / "attic" / "albedo.png", tmp_path)
    assert read == pytest.approx(mid.albedo_map(), abs=0.005)


def test_files_of_albedo_that_are_none_give_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "albedo.npy").write_bytes(b"junk")
    with pytest.raises(RecordError, match=r"expected an array file of numbers, got .*; fix: "):
        read_albedo(tmp_path / "albedo.npy", tmp_path)
    np.save(tmp_path / "grey.npy", np.ones((4, 4)))
    with pytest.raises(RecordError, match=r"expected an RGB map, got the shape \[4, 4\]"):
        read_albedo(tmp_path / "grey.npy", tmp_path)
    # With OpenEXR installed the file is damaged, without it the package is asked for.
    (tmp_path / "albedo.exr").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"expected (the package OpenEXR for albedo|an OpenEXR file), got "):
        read_albedo(tmp_path / "albedo.exr", tmp_path)


def test_exr_albedo_is_read(tmp_path: Path) -> None:
    package = pytest.importorskip("OpenEXR")
    values = np.random.default_rng(0).uniform(0, 1, (4, 6, 3)).astype(np.float32)
    header = {"compression": package.ZIP_COMPRESSION, "type": package.scanlineimage}
    package.File(header, {"RGB": values}).write(str(tmp_path / "albedo.exr"))
    assert np.array_equal(read_albedo(tmp_path / "albedo.exr", tmp_path), values)


def test_disk_mean_takes_a_disk_and_refuses_gaps() -> None:
    rows, columns = np.mgrid[:21, :31]
    values = (1 + rows + 10 * columns).astype(np.float32)
    disk = (columns - 12) ** 2 + (rows - 9) ** 2 <= 16
    assert disk_mean(values, (31, 21), (12, 9), 4) == pytest.approx(values[disk].mean())
    values[5, 12] = 0
    assert disk_mean(values, (31, 21), (12, 9), 4) is None
    assert disk_mean(values, (31, 21), (12, 9), 3) is not None


def test_the_same_seed_gives_the_same_samples(make: Make, tmp_path: Path) -> None:
    make("mid").write(tmp_path, scenes=("attic", "bath"))
    first, second = made(builder(tmp_path)), made(builder(tmp_path))
    assert [s.meta["points"] for _, s in first[:5]] == [s.meta["points"] for _, s in second[:5]]
    assert builder(tmp_path).shares("train") == {"same": 0.25, "different": 0.75}


def test_a_folder_without_scenes_gives_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"expected scenes with images such as dir_0_mip2.jpg, got none"):
        builder(tmp_path).candidates("train")
