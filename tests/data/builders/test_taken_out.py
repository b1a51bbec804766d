"""Images taken out of a large table are those of their rows, and a full disk is told."""

from pathlib import Path

import pytest

from latentvr.data.builders.taken_out import TakenOut
from latentvr.errors import UserError


def test_images_come_back_in_any_order() -> None:
    rows = [(b"one",), (), (b"two", b"", b"three"), (b"4" * 100_000,)]
    copy = TakenOut(iter(rows))
    assert len(copy) == 4
    for k in (2, 0, 3, 1, 2):
        assert copy.row(k) == rows[k]


def test_a_folder_that_cannot_be_written_gives_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"expected room for a copy of the images, got: .*; fix: .*TMPDIR"):
        TakenOut([(b"x",)])
