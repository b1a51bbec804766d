"""Files are found by the end of a written path, below the folder alone."""

from pathlib import Path

import pytest

from latentvr.data.sets.placed import is_link_out, nowhere, placed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("set/level3/1.png", "set/level4/1.png", "set/2.png", "outside/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("level3/1.png", "level3/1.png"),
        ("./data/set/level4/1.png", "level4/1.png"),
        ("/home/somebody/level4/1.png", "level4/1.png"),
        ("data/set/2.png", "2.png"),
        ("2.png", "2.png"),
        # Another folder's file of the same name is another file.
        ("level5/1.png", None),
        ("other/2.png", None),
        ("../outside/3.png", None),
        ("level3/../level4/1.png", None),
        ("level3", None),
        ("a\0b.png", None),
        # Names that file systems and encoders refuse.
        ("x" * 5000, None),
        ("x/" * 5000, None),
        ("x\ud800.png", None),
        ("", None),
    ],
)
def test_files_are_found_by_the_end_of_their_path(folder: Path, name: str, found: str | None) -> None:
    assert placed(name, [folder]) == (None if found is None else folder / found)


def test_links_out_of_the_folder_are_told_from_those_inside(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "outside" / "3.png")
    (folder / "inside.png").symlink_to(folder / "2.png")
    (folder / "level3" / "beside.png").symlink_to("../2.png")
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "far").symlink_to(folder.parent / "outside")
    found = placed("link.png", [folder])
    assert found == folder / "link.png"
    assert is_link_out(found, folder)
    assert is_link_out(folder / "far" / "3.png", folder)
    for name in ("inside.png", "level3/beside.png"):
        assert placed(name, [folder]) == folder / name
        assert not is_link_out(folder / name, folder)
    assert placed("beside.png", [folder / "level3"]) == folder / "level3" / "beside.png"
    assert placed("gone.png", [folder]) is None
    assert not is_link_out(folder / "gone.png", folder)


def test_the_first_folder_and_the_longest_end_win(folder: Path) -> None:
    assert placed("level3/1.png", [folder / "level3", folder]) == folder / "level3/1.png"
    assert placed("level3/1.png", [folder / "level3"]) == folder / "level3" / "1.png"
    assert placed("level4/1.png", [folder / "level3"]) is None


def test_a_missing_file_has_a_path_that_cannot_climb(folder: Path) -> None:
    path = nowhere("../outside/3.png", folder)
    assert path.resolve().is_relative_to(folder.resolve())
    assert not path.exists()


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 5000, "a\0b", "x\ud800"])
def test_a_missing_file_has_a_path_that_can_be_asked_for(folder: Path, name: str) -> None:
    assert not nowhere(name, folder).is_file()
