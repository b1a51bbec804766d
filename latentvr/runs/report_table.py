"""Results of evaluations beside what a table of a paper reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any

from latentvr.data.readers.fields import shown, wrong
from latentvr.errors import UserError
from latentvr.evaluation.benchmarks.predicted import PART
from latentvr.evaluation.metrics import wilson
from latentvr.evaluation.papers import Cell, Column, PaperTable, Row, find
from latentvr.runs.results import FACTS, read_facts

#: In `Column.benchmarks`: results of a records file.
RECORDS = "records"
_AT = "latentvr report-table"
_AGAIN = "evaluate again, into a new folder"
_PATTERNS = (FACTS, f"eval/*/{FACTS}", f"diagnose/*/{FACTS}", f"*/{FACTS}")


@dataclass(frozen=True)
class Ours:
    """A figure that was measured here.

    Attributes:
        value: percentage.
        correct: right answers; None of a figure that is no share of items.
        total: items; None of such a figure.
        failures: items without an answer, where they are known.
        where: folder of the results, and how the questions were asked.
        style: of a benchmark's prompts; "" for records, which bring theirs.
        decode: settings of the answers; None where the results do not say.
        part: whether only a part of a benchmark was answered.
    """

    value: float
    correct: int | None
    total: int | None
    failures: int | None
    where: str
    style: str = ""
    decode: Mapping[str, Any] | None = None
    part: bool = False

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval, in percent."""
        if self.correct is None or self.total is None:
            return None
        low, high = wilson(self.correct, self.total)
        return 100 * low, 100 * high


@dataclass(frozen=True)
class Line:
    """A column of the table for one of its rows.

    Attributes:
        column: of the table.
        paper: what the paper reports, if anything.
        ours: what was measured here, if anything.
    """

    column: Column
    paper: Cell | None
    ours: Ours | None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's as printed, in percentage points."""
        return None if self.paper is None or self.ours is None else self.ours.value - float(self.paper.value)

    @property
    def other_items(self) -> bool:
        """Whether ours is of another number of items than the paper's."""
        ours, n = self.ours, self.column.n
        return ours is not None and None not in (n, ours.total) and ours.total != n


@dataclass(frozen=True)
class Reported:
    """A row of a paper's table with what was measured for it.

    Attributes:
        table: of the paper.
        row: of the table.
        lines: one for each column.
    """

    table: PaperTable
    row: Row
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class _Given:
    """One `ROW[:COLUMN]=FOLDER`."""

    row: Row
    column: Column | None
    folder: Path


@dataclass(frozen=True)
class _Figure:
    """A figure of a results folder: of a task, a measure or a condition."""

    kind: str
    name: str
    benchmark: str
    ours: Ours


def report(table: str, given: Sequence[str]) -> list[Reported]:
    """Put results beside a table of a paper.

    Args:
        table: name of the table.
        given: `ROW=FOLDER` or `ROW:COLUMN=FOLDER` texts; a row may have several. A folder holds results, or
            folders with results, or is a run folder.

    Returns:
        The rows that were given, in the order of the table.

    Raises:
        UserError: there is no such table, row or column, a folder has no results that the row asks for, or
            more than one.
    """
    chosen = find(table)
    parsed = [_parsed(chosen, text) for text in given]
    found = [(each, _figures(each.folder)) for each in parsed]
    rows = [row for row in chosen.rows if any(each.row is row for each in parsed)]
    out = [_reported(chosen, row, [pair for pair in found if pair[0].row is row]) for row in rows]
    _require_used(found, out)
    return out


def _parsed(table: PaperTable, text: str) -> _Given:
    key, mark, folder = text.partition("=")
    if not mark or not key.strip() or not folder.strip():
        example = f"{table.rows[-1].name}=runs/x"
        raise UserError(f"expected ROW=FOLDER, got {shown(text)}, at {_AT}; fix: such as {example}")
    row, _, column = key.strip().partition(":")
    return _Given(table.row(row), table.column(column) if column else None, Path(folder.strip()).expanduser())


def _figures(folder: Path) -> list[_Figure]:
    files = sorted({file for pattern in _PATTERNS for file in folder.glob(pattern)})
    if not files:
        got = "an empty one or none" if not folder.is_dir() else "none in it"
        raise UserError(
            f"expected a folder with results, got {got}, at {str(folder)!r}; fix: latentvr eval makes them"
        )
    return [figure for file in files for figure in _of_file(file)]


def _of_file(file: Path) -> Iterator[_Figure]:
    """What a `results.json` says of tasks, measures and conditions."""
    facts = read_facts(file)
    asked = facts.get("benchmark")
    known = asked.items() if isinstance(asked, dict) else ()
    told = {key: text for key, text in known if key in ("name", "style", "rule") and isinstance(text, str)}
    how = f" ({', '.join(told.values())})" if told else ""
    decode = facts.get("decode")
    made = list(_read(facts, told.get("name", RECORDS), file, f"{file.parent}{how}"))
    part = any(figure.kind == "measure" and figure.name == PART for figure in made)
    decode = decode if isinstance(decode, dict) else None
    for figure in made:
        asked = replace(figure.ours, style=told.get("style", ""), decode=decode, part=part)
        yield replace(figure, ours=asked)


def _read(facts: dict[str, Any], benchmark: str, file: Path, where: str) -> Iterator[_Figure]:
    """The figures of a file by themselves."""
    conditions = facts.get("conditions", {})
    if not isinstance(conditions, dict):
        raise wrong('an object "conditions"', shown(conditions), file, "diagnose again, into a new folder")
    for name, value in conditions.items():
        if not (isinstance(value, dict) and "does_not_apply" in value):
            yield _Figure("condition", name, benchmark, _ours(value, "failed", file, where))
    for key, label, kind in (("scores", "task", "task"), ("measures", "name", "measure")):
        values = facts.get(key, [])
        if not isinstance(values, list):
            raise wrong(f'a list "{key}"', shown(values), file, _AGAIN)
        for value in values:
            name = value.get(label) if isinstance(value, dict) else None
            if not isinstance(name, str):
                raise wrong(f'objects with a "{label}" in "{key}"', shown(value), file, _AGAIN)
            yield _Figure(kind, name, benchmark, _ours(value, "failures", file, where))


def _ours(value: Any, failures: str, file: Path, where: str) -> Ours:
    """A figure with its counts, or a bare percentage."""
    made = value if isinstance(value, dict) else {}
    correct, total, failed = made.get("correct"), made.get("total"), made.get(failures)
    failed = failed if type(failed) is int else None
    if type(correct) is int and type(total) is int and 0 <= correct <= total and total > 0:
        return Ours(100 * correct / total, correct, total, failed, where)
    percent = made.get("value")
    if correct is None and isinstance(percent, int | float) and isfinite(percent):
        return Ours(float(percent), None, None, failed, where)
    raise wrong('"correct" of "total", or a number "value"', shown(value), file, _AGAIN)


def _reported(table: PaperTable, row: Row, found: Sequence[tuple[_Given, list[_Figure]]]) -> Reported:
    lines = [
        Line(column, table.cell(row, column), _chosen(row, column, found))
        for column in table.columns
        if not column.mean
    ]
    if len(lines) < len(table.columns):
        (column,) = (column for column in table.columns if column.mean)
        lines.append(Line(column, table.cell(row, column), _mean(lines)))
    return Reported(table, row, tuple(lines))


def _chosen(row: Row, column: Column, found: Sequence[tuple[_Given, list[_Figure]]]) -> Ours | None:
    """The one figure that is the column's; of several the one with the paper's number of items."""
    own = [pair for pair in found if pair[0].column is column]
    others = [pair for pair in found if pair[0].column is None]
    fitting = [figure.ours for _, figures in own or others for figure in figures if _fits(figure, column)]
    if own and not fitting:
        raise UserError(
            f"expected results of {column.title}, got none, at {str(own[0][0].folder)!r}; "
            f"fix: {_wanted(column)}"
        )
    if len(fitting) > 1:
        fitting = [ours for ours in fitting if ours.total == column.n] or fitting
    if len(fitting) > 1:
        places = " and ".join(sorted(shown(ours.where) for ours in fitting)[:4])
        raise UserError(
            f"expected one result of {column.title}, got {len(fitting)}, at {places}; "
            f"fix: name the folder of one as {row.name}:{column.name}=FOLDER"
        )
    return fitting[0] if fitting else None


def _fits(figure: _Figure, column: Column) -> bool:
    if column.benchmarks and figure.benchmark not in column.benchmarks:
        return False
    wanted = {"task": column.tasks, "measure": [column.measure], "condition": [column.condition]}
    return bool(figure.name) and figure.name in wanted[figure.kind]


def _wanted(column: Column) -> str:
    """What an evaluation has to have for a column."""
    if column.condition:
        return f"latentvr diagnose with the condition {column.condition}"
    named = [name for name in column.benchmarks if name != RECORDS]
    if named:
        return f"latentvr eval with --bench {named[0]}"
    return f"evaluate records of the task {' or '.join(column.tasks)}" if column.tasks else "leave it out"


def _mean(lines: Sequence[Line]) -> Ours | None:
    """Mean over the columns, each counting the same; none where one is missing."""
    values = [line.ours.value for line in lines if line.ours is not None]
    if len(values) < len(lines):
        return None
    return Ours(sum(values) / len(values), None, None, None, "")


def _require_used(found: Sequence[tuple[_Given, list[_Figure]]], out: Sequence[Reported]) -> None:
    """A folder that gives nothing was named by mistake."""
    used = {line.ours.where for each in out for line in each.lines if line.ours is not None}
    for given, figures in found:
        if used.isdisjoint(figure.ours.where for figure in figures):
            names = ", ".join(dict.fromkeys(shown(figure.name) for figure in figures))[:200] or "none"
            raise UserError(
                f"expected results of a column of the table, got {names}, at {str(given.folder)!r}; "
                "fix: evaluate the row on the table's tasks"
            )


def one_item(column: Column) -> Decimal | None:
    """What one item is worth, in percentage points."""
    return None if column.n is None else Decimal(100) / column.n
