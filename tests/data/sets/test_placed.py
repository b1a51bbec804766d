"""Files are found by the end of a written path, below the folder alone."""

from pathlib import Path

import pytest

from latentvr.data.sets.placed import nowhere, placed


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
        ("", None),
    ],
)
def test_files_are_found_by_the_end_of_their_path(folder: Path, name: str, found: str | None) -> None:
    assert placed(name, [folder]) == (None if found is None else folder / found)


def test_links_out_of_the_folder_are_not_followed(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "outside" / "3.png")
    assert placed("link.png", [folder]) is None
    (folder / "inside.png").symlink_to(folder / "2.png")
    assert placed("inside.png", [folder]) == folder / "inside.png"


def test_the_first_folder_and_the_longest_end_win(folder: Path) -> None:
    assert placed("level3/1.png", [folder / "level3", folder]) == folder / "level3/1.png"
    assert placed("level3/1.png", [folder / "level3"]) == folder / "level3" / "1.png"
    assert placed("level4/1.png", [folder / "level3"]) is None


def test_a_missing_file_has_a_path_that_cannot_climb(folder: Path) -> None:
    path = nowhere("../outside/3.png", folder)
    assert path.resolve().is_relative_to(folder.resolve())
    assert not path.exists()
