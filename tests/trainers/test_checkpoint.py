"""Checkpoints are written aside, sealed and verified; links and pruning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from latentvr.errors import CheckpointError
from latentvr.trainers import checkpoint


def fill(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 8)
    (folder / checkpoint.STATE).write_text('{"stage": 0}\n')
    (folder / "part").mkdir()
    (folder / "part" / "more.txt").write_text("more")


def make(root: Path, step: int) -> Path:
    partial = root / f"step-{step}.partial"
    checkpoint.write_aside(partial, fill)
    return checkpoint.seal(partial)


@pytest.mark.parametrize("moment", ["step-3", "step-3.partial"])
def test_a_checkpoint_written_again_is_there_whole_at_any_moment(moment: str, tmp_path: Path) -> None:
    """Dies right before either rename: the old folder or the new one is whole, and saving works again."""
    code = f"""
import os, sys
from pathlib import Path
from latentvr.trainers import checkpoint

def fill(folder):
    (folder / "weights.bin").write_bytes(b"new")
    (folder / checkpoint.STATE).write_text("{{}}")

def die(event, arguments):
    if event == "os.rename" and Path(arguments[0]).name == {moment!r}:
        os._exit(9)

sys.addaudithook(die)
partial = Path({str(tmp_path)!r}) / "step-3.partial"
checkpoint.write_aside(partial, fill)
checkpoint.seal(partial)
"""
    make(tmp_path, 3)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    whole = [folder for folder in tmp_path.iterdir() if (folder / checkpoint.MARKER).is_file()]
    for folder in whole:
        checkpoint.verify(folder)
    assert "step-3.partial" in [folder.name for folder in whole]
    assert len(whole) == 2
    checkpoint.verify(make(tmp_path, 3))
    checkpoint.prune(tmp_path, 5)
    assert [folder.name for folder in tmp_path.iterdir()] == ["step-3"]


FILES = ["weights.bin", checkpoint.STATE, "part/more.txt", checkpoint.MARKER]


def delete(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def test_a_sealed_checkpoint_is_whole(tmp_path: Path) -> None:
    folder = make(tmp_path, 3)
    checkpoint.verify(folder)
    assert checkpoint.latest(tmp_path) == folder
    assert [p.name for p in tmp_path.iterdir()] == ["step-3"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [delete, truncate, flip])
def test_each_damage_to_each_file_is_refused_by_name(damage: object, name: str, tmp_path: Path) -> None:
    make(tmp_path, 2)
    folder = make(tmp_path, 10)
    damage(folder / name)  # type: ignore[operator]
    with pytest.raises(CheckpointError) as error:
        checkpoint.latest(tmp_path)
    text = str(error.value)
    if name == checkpoint.MARKER and damage is not delete:
        # A changed listing either cannot be read or no longer fits some file.
        assert text.startswith("expected a complete checkpoint, got "), text
    else:
        assert text.startswith(
            f"expected a complete checkpoint, got {'no' if damage is delete else 'a damaged'} {name}"
        )
    assert text.endswith(f"at {str(folder)!r}; fix: remove it and resume from step-2")


def test_no_flipped_bit_in_the_listing_goes_unseen(tmp_path: Path) -> None:
    folder = make(tmp_path, 1)
    marker = folder / checkpoint.MARKER
    whole = marker.read_bytes()
    for place in range(len(whole)):
        if not whole[place : place + 1].isspace():
            marker.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            with pytest.raises(CheckpointError):
                checkpoint.verify(folder)


@pytest.mark.parametrize(
    "listing", ["{}", "[]", "null", "3", '{"run_state.json": 3}', '{"run_state.json": {}}']
)
def test_a_listing_of_another_shape_is_refused(listing: str, tmp_path: Path) -> None:
    folder = make(tmp_path, 1)
    (folder / checkpoint.MARKER).write_text(listing)
    with pytest.raises(CheckpointError, match=r"fix: start the run again$"):
        checkpoint.verify(folder)


def test_the_newest_whole_one_before_is_offered_and_never_taken_silently(tmp_path: Path) -> None:
    for step in (2, 9, 10):
        make(tmp_path, step)
    delete(tmp_path / "step-9" / "weights.bin")
    delete(tmp_path / "step-10" / "weights.bin")
    with pytest.raises(CheckpointError, match=r"step-10'; fix: remove it and resume from step-2$"):
        checkpoint.latest(tmp_path)


def test_leftovers_are_no_checkpoints_and_go_at_the_next_save(tmp_path: Path) -> None:
    make(tmp_path, 2)
    left = tmp_path / "step-4.partial"
    left.mkdir()
    (left / "half").write_text("x")
    assert [f.name for f in checkpoint.listed(tmp_path)] == ["step-2"]
    make(tmp_path, 4)
    (tmp_path / "step-3.partial").mkdir()
    checkpoint.prune(tmp_path, 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-2", "step-4"]
    assert not (tmp_path / "step-4" / "half").exists()


def test_steps_are_ordered_by_number_and_links_are_not_listed(tmp_path: Path) -> None:
    for step in (10, 9, 100):
        make(tmp_path, step)
    checkpoint.point(tmp_path, "best", tmp_path / "step-9")
    assert [checkpoint.step_of(f) for f in checkpoint.listed(tmp_path)] == [9, 10, 100]
    assert checkpoint.step_of(tmp_path / "best") == -1


def test_pruning_keeps_the_newest_and_the_linked_ones(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        make(tmp_path, step)
    checkpoint.point(tmp_path, "best", tmp_path / "step-2")
    checkpoint.prune(tmp_path, 1)
    assert [f.name for f in checkpoint.listed(tmp_path)] == ["step-2", "step-4"]
    assert (tmp_path / "best").resolve() == (tmp_path / "step-2").resolve()
    checkpoint.point(tmp_path, "best", tmp_path / "step-4")
    checkpoint.prune(tmp_path, 1)
    assert [f.name for f in checkpoint.listed(tmp_path)] == ["step-4"]
    checkpoint.prune(tmp_path, 1)
    assert [f.name for f in checkpoint.listed(tmp_path)] == ["step-4"]


def test_a_link_moves_in_one_step_and_survives_a_leftover(tmp_path: Path) -> None:
    for step in (1, 2):
        make(tmp_path, step)
    (tmp_path / "best.partial").symlink_to("step-1")
    checkpoint.point(tmp_path, "best", tmp_path / "step-1")
    checkpoint.point(tmp_path, "best", tmp_path / "step-2")
    assert (tmp_path / "best").resolve().name == "step-2"
    checkpoint.link_best(tmp_path, 77)
    assert (tmp_path / "best").resolve().name == "step-2"


def test_no_checkpoints_are_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "nowhere") is None


def test_the_state_reads_back_and_another_text_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, 1)
    with pytest.raises(
        CheckpointError, match=r"^expected the run_state\.json of a checkpoint, got another text, at "
    ):
        checkpoint.read_state(folder)
    state = {"stage": 1, "name": "causal", "step": 3, "done": False, "processes": 1}
    (folder / checkpoint.STATE).write_text(json.dumps(state))
    assert checkpoint.read_state(folder) == state
    checkpoint.require_stage(folder, ["bottleneck", "causal"])
    with pytest.raises(CheckpointError, match="of stage bottleneck, got one of 'causal'"):
        checkpoint.require_stage(folder, ["bottleneck"])
