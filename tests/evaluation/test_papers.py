"""The papers' figures: each follows from its number of items, but for those that are listed here.

Breaks when: a figure, a number of items or a count is mistyped, an anomaly has no note or a note no anomaly,
a row names neither recipe nor checkpoint nor reason, or a column asks for what no benchmark has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.config.rules import require, require_for_rl
from latentvr.errors import UserError
from latentvr.evaluation.benchmarks.registry import NAMES
from latentvr.evaluation.papers import PaperTable, Row, disagreements, find, papers, rounded

ROOT = Path(__file__).parents[2]
TABLES = papers().tables
ROWS = [(name, row) for name, table in TABLES.items() for row in table.rows]
IDS = [f"{name}/{row.name}" for name, row in ROWS]
# All that is odd in the two papers.
ANOMALIES = {
    ("livr-1", "qwen2.5-vl-3b/livr", "similarity"),
    ("livr-1", "llava-ov-1.5-4b/livr", "functional"),
    ("livr-2", "zero-shot", "mean"),
    ("livr-3", "base", "blink3"),
    ("livr-3", "sft", "blink3"),
    ("livr-3", "text-cot", "blink3"),
    ("livr-4", "vision-r1", "blink5"),
    ("livr-4", "lvr", "blink5"),
    ("livr-4", "livr", "blink5"),
    ("livr-5", "mask-only", "semantic"),
    ("livr-5", "image-twice-causal", "semantic"),
    ("livr-6", "k-4", "functional"),
    ("livr-v1", "mirage", "jigsaw"),
    ("lvr-1", "gemini-2.5-pro", "vstar"),
    ("lvr-1", "argus-x3", "mmvp"),
    ("lvr-1", "lvr-4", "attributes"),
    ("lvr-1", "lvr-8", "attributes"),
    ("lvr-1", "lvr-16", "relative"),
    ("lvr-2", "lvr-4", "vstar"),
    ("lvr-2", "lvr-8", "vstar"),
    ("lvr-2", "lvr-16", "vstar"),
    ("lvr-2", "lvr-rl-4", "vstar"),
    ("lvr-3", "lvr", "attributes"),
    ("lvr-3", "mlp-head", "vstar"),
}


def share(table: PaperTable, row: Row, column: str) -> tuple[int | None, int | None]:
    cell = table.cell(row, table.column(column))
    assert cell is not None
    return cell.count, cell.n


@pytest.mark.parametrize(("name", "row"), ROWS, ids=IDS)
def test_a_row_agrees_with_its_numbers_of_items(name: str, row: Row) -> None:
    table = find(name)
    assert len(row.values) == len(table.columns)
    assert disagreements(table, row) == {each.column for each in row.anomalies}
    assert {(name, row.name, each.column) for each in row.anomalies} == {
        each for each in ANOMALIES if each[:2] == (name, row.name)
    }


def test_the_checks_find_a_figure_that_was_mistyped() -> None:
    table = find("livr-1")
    row = table.row("qwen3-vl-4b/livr")
    for place, column in enumerate(table.columns):
        before = row.values[place]
        assert before is not None
        row.values[place] = before + 0.03
        assert column.name in disagreements(table, row)
        row.values[place] = before
    assert disagreements(table, row) == set()


@pytest.mark.parametrize(
    ("table", "row", "column", "count"),
    [
        ("livr-1", "qwen3-vl-4b/livr", "functional", (99, 146)),
        ("livr-1", "qwen3-vl-4b/livr", "visual", (653, 700)),
        ("livr-1", "qwen2.5-vl-3b/livr", "similarity", (128, 135)),
        ("livr-3", "livr", "robospatial", (152, 228)),
        ("livr-3", "livr", "blink3", (238, 400)),
        ("livr-3", "base", "blink3", (None, 400)),
        ("livr-4", "livr", "mmvp", (226, 300)),
        ("livr-4", "lvr", "blink5", (386, 697)),
        ("livr-4", "livr", "blink5", (None, 697)),
        ("livr-6", "k-4", "functional", (97, 146)),
        ("livr-probes", "livr", "both", (53, 122)),
        ("livr-vsp", "7b/livr", "vsp", (310, 400)),
        ("lvr-1", "base", "vstar", (150, 191)),
        ("lvr-1", "lvr-8", "mmvp", (215, 300)),
    ],
)
def test_known_counts(table: str, row: str, column: str, count: tuple[int | None, int | None]) -> None:
    assert share(find(table), find(table).row(row), column) == count


def test_the_random_row_is_chance_and_has_no_counts() -> None:
    table = find("livr-1")
    (row,) = [row for row in table.rows if row.guess]
    assert row.values == [column.chance for column in table.columns]
    assert {table.cell(row, column).count for column in table.columns} == {None}  # type: ignore[union-attr]
    # Counts run from 2 to 10; the others have as many options as their prompts.
    options = [9, 2, 2, 4, 2, 4, 4, 3, 2]
    shares = [Decimal(100) / number for number in options]
    wanted = [*(rounded(value, 2) for value in shares), rounded(sum(shares, Decimal()) / 9, 2)]
    assert [rounded(Decimal(str(value)), 2) for value in row.values] == wanted


def test_pooled_rows_of_one_paper_are_sums_of_the_other() -> None:
    """LIVR took four rows of BLINK-5 from LVR's table of single tasks."""
    other = {"base": "base", "papo": "papo", "pixelreasoner": "pixelreasoner", "lvr": "lvr-16"}
    for ours, theirs in other.items():
        table = find("lvr-1")
        parts = [
            share(table, table.row(theirs), name)[0]
            for name in ("counting", "iq", "jigsaw", "reflectance", "spatial")
        ]
        assert (
            sum(count for count in parts if count is not None)
            == share(find("livr-4"), find("livr-4").row(ours), "blink5")[0]
        )


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=IDS)
def test_a_row_says_how_it_is_made(row: Row) -> None:
    assert sum(map(bool, (row.recipe, row.checkpoint, row.only_reported))) == 1
    if not row.recipe:
        assert row.overrides == ""
        return
    resolved = load(ROOT / "recipes" / row.recipe, [*row.overrides.split(), *row.evaluation.split()])
    check: Callable[..., None] = require if row.verb == "train" else require_for_rl
    check(resolved)
    assert row.command.startswith(f"latentvr {row.verb} recipes/{row.recipe}")
    # What a row is made from is the model that its table names.
    size = row.model.rpartition("-")[2].lower()
    model = resolved.recipe.model.path.lower()
    assert size in model


def test_rows_differ_in_how_they_are_made() -> None:
    """Apart from the default of the ablations, which stands three times."""
    for name, table in TABLES.items():
        made = Counter((row.command, row.evaluation) for row in table.rows if row.recipe)
        assert [count for count in made.values() if count > 1] == ([3] if name == "livr-6" else [])


def test_names_are_distinct_and_can_stand_on_a_command_line() -> None:
    for table in TABLES.values():
        assert table.paper in papers().papers
        for names in ([row.name for row in table.rows], [column.name for column in table.columns]):
            assert len(set(names)) == len(names)
            assert not [name for name in names if set(name) & set(" =:*$'\"")]
        assert sum(column.mean for column in table.columns) <= 1
        for row in table.rows:
            assert {each.column for each in row.anomalies} <= {column.name for column in table.columns}


def test_columns_ask_for_benchmarks_that_there_are() -> None:
    for table in TABLES.values():
        for column in table.columns:
            assert set(column.benchmarks) <= {*NAMES, "records"}
            ways = [bool(column.tasks), bool(column.measure), bool(column.condition), column.mean]
            assert sum(ways) == (0 if column.name == "attention" else 1), column.name


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match=r"got 'livr-9', at latentvr report-table; fix: .*did you mean"):
        find("livr-9")
    with pytest.raises(UserError, match="a row of the table"):
        find("livr-1").row("nothing")
    with pytest.raises(UserError, match="a column of the table"):
        find("livr-1").column("nothing")
