"""`check` must list every bad row and no good one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latentvr.data.check import check
from latentvr.data.toy import Toy, write
from latentvr.errors import RecordError


def test_a_good_folder_is_counted(tmp_path: Path) -> None:
    report = check(write(Toy(["jigsaw", "counting"], "test", 6, 0), tmp_path))
    assert report.ok
    assert (report.n_rows, report.n_images) == (12, 6 * 3 + 6)
    assert report.tasks == {"counting": 6, "jigsaw": 6}
    assert report.splits == {"test": 12}
    assert report.answers["jigsaw"] == {"A": 3, "B": 3}
    assert str(report.format) == "latentvr rows in jsonl"


def test_every_bad_row_is_listed(tmp_path: Path) -> None:
    """One row of each kind of damage; the good rows between them must not be listed."""
    path = write(Toy(["jigsaw"], "test", 8, 0), tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["answer"] = "Z"
    rows[3]["id"] = rows[0]["id"]
    (tmp_path / rows[4]["images"][1]).write_bytes(b"")
    (tmp_path / rows[4]["images"][2]).unlink()
    rows[6]["images"][0] = "/etc/passwd"
    lines = [json.dumps(row) for row in rows]
    lines.insert(2, "not json")
    path.write_text("\n".join(lines))
    report = check(path)
    assert [bad.row for bad in report.bad] == [2, 3, 5, 6, 6, 8]
    assert [bad.id for bad in report.bad][:3] == [rows[1]["id"], "", rows[0]["id"]]
    assert all(f"records.jsonl row {bad.row}" in bad.sentence for bad in report.bad)
    assert not report.ok
    assert (report.n_rows, report.tasks) == (9, {"jigsaw": 4})


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(RecordError, match="expected at least one row, got none"):
        check(tmp_path / "x.jsonl")
