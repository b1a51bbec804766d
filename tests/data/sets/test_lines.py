"""Published JSON lines: a byte-order mark and blank last lines do no harm, other damage does."""

from pathlib import Path

import pytest

from latentvr.data.sets.lines import published_lines
from latentvr.errors import RecordError


@pytest.mark.parametrize(
    "data",
    [b'{"a": 1}\n[2]\n', b'\xef\xbb\xbf{"a": 1}\n[2]', b'{"a": 1}\r\n[2]\r\n\r\n', b'{"a": 1}\n[2]\n\n \n\n'],
    ids=["plain", "mark", "carriage returns", "blank end"],
)
def test_marks_and_blank_ends_do_no_harm(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(data)
    assert list(published_lines(tmp_path / "x.jsonl", "x.jsonl")) == [(1, {"a": 1}), (2, [2])]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"1\n\n3\n", "expected a row in each line, got none, at x.jsonl row 2"),
        (b"1\n\xef\xbb\xbf2\n", "expected strict JSON in UTF-8, .* at x.jsonl row 2"),
        (b"1\nNaN\n", "expected strict JSON in UTF-8, .* at x.jsonl row 2"),
        (b"1\n" + b" " * 10_000_001, "expected a line of at most 10000000 bytes, .* at x.jsonl row 2"),
    ],
    ids=["gap", "mark inside", "not a number", "long"],
)
def test_everything_else_gives_a_sentence(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(data)
    with pytest.raises(RecordError, match=said):
        list(published_lines(tmp_path / "x.jsonl", "x.jsonl"))
