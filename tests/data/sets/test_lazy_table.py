"""Cells in any order are the right ones, and a row group is not read as a whole for one of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table

from latentvr.data.sets.lazy_table import LazyTable
from latentvr.errors import RecordError

ROWS = 40
KINDS = {
    "plain": pyarrow.binary(),
    "struct": pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    "list": pyarrow.list_(pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
}


def value(kind: str, row: int) -> object:
    data = f"{row} ".encode() * 500
    struct = {"bytes": data, "path": None}
    return {"plain": data, "struct": struct, "list": [struct] * (row % 3)}[kind]


@pytest.fixture
def table(tmp_path: Path) -> LazyTable:
    columns = {kind: pyarrow.array([value(kind, i) for i in range(ROWS)], KINDS[kind]) for kind in KINDS}
    write_table(pyarrow.table(columns), tmp_path / "x.parquet", row_group_size=25)
    return LazyTable(tmp_path / "x.parquet", "x.parquet")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [1, 10**9])
def test_cells_in_any_order_are_those_of_their_rows(table: LazyTable, kind: str, window: int) -> None:
    table = LazyTable(table.path, table.name, window)
    order = [0, 1, 1, 7, 24, 25, 39, 3, 3, 2, 26, 0, 38]
    assert [table.cell(i, kind) for i in order] == [value(kind, i) for i in order]
    assert list(table.values(kind)) == [value(kind, i) for i in range(ROWS)]
    assert [row[kind] for _, row in table.rows([kind], 7)] == [value(kind, i) for i in range(ROWS)]


def test_columns_are_read_at_their_own_pace(table: LazyTable) -> None:
    for i in range(ROWS):
        assert table.cell(i, "plain") == value("plain", i)
        if i % 5 == 0:
            assert table.cell(i, "list") == value("list", i)


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("group", [2, 100])
def test_what_is_null_is_told_from_what_is_there(tmp_path: Path, statistics: bool, group: int) -> None:
    # With statistics, groups of two rows are known as a whole, but for the one that holds both kinds.
    there = {"bytes": b"x", "path": None}
    rows = [there, there, None, None, {"bytes": None, "path": None}, None, there, None, there, there]
    rows.append({"bytes": None, "path": "x.png"})
    write_table(
        pyarrow.table({"image": pyarrow.array(rows, KINDS["struct"])}),
        tmp_path / "x.parquet", row_group_size=group, write_statistics=statistics,
    )  # fmt: skip
    wanted = [row is not None and any(row.values()) for row in rows]
    assert LazyTable(tmp_path / "x.parquet", "x").filled("image") == wanted


class Counted(LazyTable):
    """Notes how many rows are read at a time."""

    def _batches(self, columns: list[str], size: int, group: int | None = None) -> Iterator[Any]:
        for batch in super()._batches(columns, size, group):
            read.append(len(batch))
            yield batch


read: list[int] = []


def test_rows_in_order_cost_one_pass(table: LazyTable) -> None:
    # A pass for every row makes an evaluation of a large file take hours.
    read.clear()
    counted = Counted(table.path, table.name, 4000)
    for i in range(ROWS):
        counted.cell(i, "struct")
    assert sum(read) == ROWS
    assert max(read) <= 4
    read.clear()
    counted.cell(2, "struct")
    assert sum(read) <= 4


def test_images_are_counted_in_small_windows(table: LazyTable) -> None:
    table = LazyTable(table.path, table.name, 1)
    assert table.filled("struct") == [True] * ROWS
    assert table.filled("plain") == [True] * ROWS
    assert table.counts("list") == [i % 3 for i in range(ROWS)]


def test_damage_gives_a_sentence(table: LazyTable) -> None:
    data = bytearray(table.path.read_bytes())
    data[4:200] = bytes(196)
    table.path.write_bytes(bytes(data))
    with pytest.raises(RecordError, match=r"expected a parquet file, got .*, at x.parquet; fix: "):
        table.cell(0, "plain")
    with pytest.raises(RecordError, match=r"expected a parquet file, got "):
        list(table.values("plain"))
    with pytest.raises(RecordError, match=r"expected a parquet file, got "):
        list(table.rows(["plain"]))
