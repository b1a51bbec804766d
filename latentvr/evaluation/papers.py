"""What the papers report: the figures of `papers.yaml`, typed, each held against its number of items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar, cast

from omegaconf import MISSING, OmegaConf

from latentvr.config.document import read_document
from latentvr.config.suggest import close, sentence
from latentvr.errors import UserError

FILE = Path(__file__).with_name("papers.yaml")
_Named = TypeVar("_Named")


@dataclass
class Paper:
    """A paper: what it is called, and what its runs took."""

    title: str = MISSING
    arxiv: str = MISSING
    method: str = MISSING
    """As the paper calls it."""
    source: str = MISSING
    """Where its figures were taken from."""
    hardware: str = MISSING
    """What it says about machines and hours."""


@dataclass
class Column:
    """A figure that rows of a table have, and which figure of ours it corresponds to."""

    name: str = MISSING
    title: str = MISSING
    n: int | None = None
    """Items; null where the paper does not say, or where a figure is no share of items."""
    tasks: list[str] = field(default_factory=list)
    """Names of tasks, each of which gives the figure."""
    measure: str = ""
    """A figure of a benchmark's own."""
    benchmarks: list[str] = field(default_factory=list)
    """Benchmarks whose results count, `records` for records files; empty takes all."""
    parts: list[str] = field(default_factory=list)
    """Columns whose items it holds together."""
    condition: str = ""
    """A condition of a diagnosis."""
    chance: float | None = None
    """What guessing gives, in percent."""
    mean: bool = False
    """The mean of all other columns."""
    decimals: int | None = None
    """Printed decimals; null means the table's."""


@dataclass
class Anomaly:
    """A printed figure that does not agree with the number of items, or with its parts."""

    column: str = MISSING
    why: str = MISSING
    count: int | None = None
    """Right answers, where they are beyond doubt."""


@dataclass
class Row:
    """A model in a table, and how it is made here."""

    name: str = MISSING
    model: str = MISSING
    method: str = MISSING
    values: list[float | None] = field(default_factory=list)
    """In the order of the columns."""
    decimals: int | None = None
    """Printed decimals, where they differ from those of the columns."""
    verb: Literal["train", "rl"] = "train"
    recipe: str = ""
    """Shipped recipe that makes it."""
    overrides: str = ""
    """Settings on top of the recipe."""
    checkpoint: str = ""
    """Published model that it is, untrained here."""
    evaluation: str = ""
    """Settings of its answers."""
    style: str = ""
    """How a benchmark asks, where it is not the table's."""
    only_reported: str = ""
    """Why it is not made here."""
    guess: bool = False
    """Whether figures are probabilities, not shares of items."""
    anomalies: list[Anomaly] = field(default_factory=list)

    @property
    def command(self) -> str:
        """The command that makes the model, or its name, or why there is neither."""
        if self.recipe:
            return " ".join(("latentvr", self.verb, f"recipes/{self.recipe}", *self.overrides.split()))
        return self.checkpoint or self.only_reported

    @property
    def decode(self) -> dict[str, str]:
        """What the row says of the settings of its answers, by name in the section `decode`."""
        pairs = [text.partition("=") for text in (*self.overrides.split(), *self.evaluation.split())]
        named = [(key, value) for key, _, value in pairs if key.startswith("decode.")]
        return {key.removeprefix("decode."): value for key, value in named}


@dataclass
class PaperTable:
    """A table of a paper."""

    paper: str = MISSING
    number: str = MISSING
    title: str = MISSING
    decimals: int = MISSING
    style: str = "native"
    """How benchmarks ask."""
    notes: list[str] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def row(self, name: str) -> Row:
        """Give a row by name.

        Args:
            name: of the row.

        Returns:
            The row.

        Raises:
            UserError: there is none of this name.
        """
        return _named(name, {row.name: row for row in self.rows}, "a row of the table")

    def column(self, name: str) -> Column:
        """Give a column by name.

        Args:
            name: of the column.

        Returns:
            The column.

        Raises:
            UserError: there is none of this name.
        """
        return _named(name, {column.name: column for column in self.columns}, "a column of the table")

    def cell(self, row: Row, column: Column) -> Cell | None:
        """Give a figure as it is printed, with the count behind it; None where the paper has none."""
        value = row.values[self.columns.index(column)]
        if value is None:
            return None
        decimals = next(d for d in (row.decimals, column.decimals, self.decimals) if d is not None)
        found = next((each for each in row.anomalies if each.column == column.name), None)
        printed = rounded(Decimal(str(value)), decimals)
        if column.n is None or row.guess:
            count = None
        elif found is not None:
            count = found.count
        else:
            count = int(rounded(printed * column.n / 100, 0))
        return Cell(printed, decimals, count, column.n, found.why if found else "")


@dataclass
class Papers:
    """All papers and tables."""

    papers: dict[str, Paper] = field(default_factory=dict)
    tables: dict[str, PaperTable] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A printed figure.

    Attributes:
        value: as printed.
        decimals: printed ones.
        count: right answers behind it, where there are any and no doubt about them.
        n: items, where they are known.
        anomaly: why the figure does not agree with them; "" where it does.
    """

    value: Decimal
    decimals: int
    count: int | None
    n: int | None
    anomaly: str


def rounded(value: Decimal, decimals: int) -> Decimal:
    """Round to a number of decimals, halves away from zero, as papers do."""
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


@cache
def papers() -> Papers:
    """Read what the papers report.

    Returns:
        Papers and tables by name, in the order of the file.
    """
    merged = OmegaConf.merge(OmegaConf.structured(Papers), OmegaConf.create(read_document(FILE).text))
    return cast(Papers, OmegaConf.to_object(merged))


def find(name: str) -> PaperTable:
    """Give a table by name.

    Args:
        name: such as the names that `latentvr report-table` lists.

    Returns:
        The table.

    Raises:
        UserError: there is none of this name.
    """
    return _named(name, papers().tables, "a table")


def _named(name: str, known: Mapping[str, _Named], what: str) -> _Named:
    if name not in known:
        hint = sentence(close(name, list(known)))
        raise UserError(
            f"expected {what} of {', '.join(known)}, got {name!a}, at latentvr report-table; "
            f"fix: choose one of them{hint}"
        )
    return known[name]


def disagreements(table: PaperTable, row: Row) -> set[str]:
    """Find the figures of a row that do not follow from counts.

    A figure follows where it is k/n rounded once, one of several parts where it is also
    their sum, a mean where it is that of the counts.

    Args:
        table: of the row.
        row: whose figures are looked at; those of guessing have no counts.

    Returns:
        Names of the columns.
    """
    counts = {column.name: _nearest(row, table, column) for column in table.columns}
    wrong: set[str] = set()
    for column in [] if row.guess else table.columns:
        cell = table.cell(row, column)
        if cell is None:
            continue
        exact = _mean(table, counts) if column.mean else _share(counts[column.name], column)
        if exact is not None and rounded(exact, cell.decimals) != cell.value:
            wrong.add(column.name)
        parts = [count for name in column.parts if (count := counts[name]) is not None]
        if parts and len(parts) == len(column.parts) and sum(parts) != counts[column.name]:
            wrong.add(column.name)
    return wrong


def _nearest(row: Row, table: PaperTable, column: Column) -> int | None:
    value = row.values[table.columns.index(column)]
    if value is None or column.n is None:
        return None
    return int(rounded(Decimal(str(value)) * column.n / 100, 0))


def _share(count: int | None, column: Column) -> Decimal | None:
    return None if count is None or column.n is None else Decimal(100 * count) / column.n


def _mean(table: PaperTable, counts: dict[str, int | None]) -> Decimal | None:
    shares = [_share(counts[column.name], column) for column in table.columns if not column.mean]
    known = [share for share in shares if share is not None]
    return sum(known, Decimal()) / len(known) if len(known) == len(shares) else None
