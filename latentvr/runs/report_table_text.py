"""Tables of papers as rows of text, alone or beside results; the same for terminals and pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from latentvr.data.printable import printable
from latentvr.data.readers.fields import shown
from latentvr.evaluation.papers import Cell, Column, PaperTable, Row, papers
from latentvr.runs.report_table import Line, Reported, one_item

MARK = "*"
NONE = "-"


@dataclass(frozen=True)
class TextTable:
    """A table of texts.

    Attributes:
        title: above it.
        header: names of the columns.
        rows: cells.
        notes: below it.
        left: how many columns hold words and not figures.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    left: int

    def to_markdown(self) -> str:
        """Write it as Markdown, with a line end at the end."""
        marks = ["---" if i < self.left else "--:" for i in range(len(self.header))]
        lines = [f"**{self.title}**", "", _line(self.header), f"|{'|'.join(marks)}|"]
        lines += [_line(row) for row in self.rows]
        notes = [f"- {_escaped(note)}" for note in self.notes]
        return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"

    def to_text(self) -> str:
        """Write it for a terminal, in columns as wide as they need to be, with a line end at the end."""
        cells = [[printable(cell).replace("`", "") for cell in row] for row in (self.header, *self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        lines = ["  ".join(self._aligned(row, widths)).rstrip() for row in cells]
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([self.title, "", *lines, "", *map(printable, self.notes)]).rstrip() + "\n"

    def _aligned(self, row: Sequence[str], widths: Sequence[int]) -> list[str]:
        pairs = enumerate(zip(row, widths, strict=True))
        return [cell.ljust(width) if i < self.left else cell.rjust(width) for i, (cell, width) in pairs]


def listing() -> TextTable:
    """List the tables that there are."""
    rows = [
        (name, papers().papers[table.paper].method, table.number, table.title, str(len(table.rows)))
        for name, table in papers().tables.items()
    ]
    return TextTable("Tables of papers", ("TABLE", "paper", "number", "title", "rows"), tuple(rows), (), 4)


def title(table: PaperTable) -> str:
    """Name a table with its paper."""
    paper = papers().papers[table.paper]
    number = f"table {table.number}" if table.number.isdigit() else table.number
    return f"{paper.method} (arXiv {paper.arxiv}), {number}: {table.title}"


def of_paper(table: PaperTable) -> TextTable:
    """Write what the paper reports: figures, the right answers behind them, how rows are made here."""
    head = ("row", "model", "method", "here", *(_heading(column) for column in table.columns))
    rows = [
        (
            row.name,
            row.model,
            row.method,
            _made(row),
            *(_printed(table.cell(row, each)) for each in table.columns),
        )
        for row in table.rows
    ]
    odd = [
        f"{MARK} {row.name}, {table.column(each.column).title}: {each.why}"
        for row in table.rows
        for each in row.anomalies
    ]
    return TextTable(title(table), head, tuple(rows), (*table.notes, *odd), 4)


def beside(reported: Reported) -> TextTable:
    """Write a row of a paper's table beside what was measured here."""
    head = ("figure", "paper", "k/N", "ours", "k/N", "95 % interval", "ours - paper", "one item")
    rows = tuple(_cells(line) for line in reported.lines)
    row = reported.row
    name = f"{title(reported.table)}; {row.name}: {row.method}, {row.model}"
    return TextTable(name, head, rows, tuple(_notes(reported)), 1)


def _heading(column: Column) -> str:
    return f"{column.title} ({column.n})" if column.n else column.title


def _printed(cell: Cell | None) -> str:
    if cell is None:
        return NONE
    count = "" if cell.count is None else f" ({cell.count})"
    return f"{cell.value}{count}{MARK if cell.anomaly else ''}"


def _made(row: Row) -> str:
    """How a row is made here, in short."""
    if row.only_reported:
        return row.only_reported
    parts = (row.recipe or row.checkpoint, row.overrides, row.evaluation and f"eval: {row.evaluation}")
    return ", ".join(f"`{part}`" for part in parts if part)


def _cells(line: Line) -> tuple[str, ...]:
    paper, ours, item = line.paper, line.ours, one_item(line.column)
    printed, count = NONE, NONE
    if paper is not None:
        printed = f"{paper.value}{MARK if paper.anomaly else ''}"
        count = NONE if paper.count is None else f"{paper.count}/{paper.n}"
    measured, k, interval, difference = NONE, NONE, NONE, NONE
    if ours is not None:
        measured = f"{ours.value:.2f}"
        k = NONE if ours.correct is None else f"{ours.correct}/{ours.total}"
        bounds = ours.interval
        interval = NONE if bounds is None else f"{bounds[0]:.1f} to {bounds[1]:.1f}"
    if line.difference is not None:
        # Adding 0 makes of a rounded -0.0 a +0.0: no change has no direction.
        difference = f"{round(line.difference, 2) + 0.0:+.2f}"
    worth = NONE if item is None else f"{item:.2f}"
    return (line.column.title, printed, count, measured, k, interval, difference, worth)


def _notes(reported: Reported) -> list[str]:
    lines = reported.lines
    out = [
        f"warning: {line.column.title} has {line.ours.total} items here and {line.column.n} in the paper: "
        "the two figures are not of the same items"
        for line in lines
        if line.ours is not None and line.other_items
    ]
    out += _other_settings(reported)
    missing = [line.column.title for line in lines if line.ours is None and not line.column.mean]
    if missing:
        tail = "; there is no mean without them" if any(line.column.mean for line in lines) else ""
        out.append(f"not measured here: {', '.join(missing)}{tail}")
    out += [
        f"{line.column.title}: {line.ours.failures} of {line.ours.total} answers hold none and count as wrong"
        for line in lines
        if line.ours is not None and line.ours.failures
    ]
    odd = [(line.column.title, line.paper.anomaly) for line in lines if line.paper and line.paper.anomaly]
    out += [f"{MARK} {name}: {why}" for name, why in odd]
    out.append("one item: percentage points that one answer is worth in the paper")
    return out + _sources(lines)


def _other_settings(reported: Reported) -> list[str]:
    """Warnings of figures that were asked for in another way than the row's."""
    row, found = reported.row, [(line.column, line.ours) for line in reported.lines if line.ours is not None]
    style = row.style or reported.table.style
    said: dict[str, list[str]] = {}
    for column, ours in found:
        if ours.style and ours.style != style:
            said.setdefault(f"asked in the style {ours.style} here, in {style} in the row", []).append(
                column.title
            )
        for key, wanted in row.decode.items() if ours.where else ():
            if ours.decode is None or key not in ours.decode:
                what = f"the results do not say decode.{key}, which is {wanted} in the row"
            elif _written(ours.decode[key]) != wanted:
                what = f"decode.{key} is {_written(ours.decode[key])} here and {wanted} in the row"
            else:
                continue
            said.setdefault(what, []).append(column.title)
        if ours.part and column.n is None:
            said.setdefault("of a part of the benchmark", []).append(column.title)
    return [f"warning: {', '.join(titles)}: {what}" for what, titles in said.items()]


def _written(value: object) -> str:
    """A setting as it stands on the command line; a folder with results may come from anywhere."""
    return shown(value) if isinstance(value, list | dict) else json.dumps(value).strip('"')[:80]


def _sources(lines: Sequence[Line]) -> list[str]:
    """Folders with what was taken from each."""
    taken: dict[str, list[str]] = {}
    for line in lines:
        if line.ours is not None and line.ours.where:
            taken.setdefault(line.ours.where, []).append(line.column.title)
    return [f"{', '.join(titles)}: {printable(where)}" for where, titles in taken.items()]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    """Text that cannot end a cell; an asterisk stays one."""
    return printable(text).replace("|", "\\|").replace("*", "\\*")
