"""What a benchmark is: files to records, styles of asking, and the figures that are reported of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from latentvr.config.suggest import close, sentence
from latentvr.data.record import Record
from latentvr.errors import UserError
from latentvr.evaluation.benchmarks.source import BenchmarkSource
from latentvr.evaluation.benchmarks.styles import Style, styles
from latentvr.evaluation.measures import Measure
from latentvr.evaluation.metrics import Prediction


class Benchmark(ABC):
    """One benchmark.

    Attributes:
        name: as the command line calls it.
        title: as papers call it.
        hub: id of its data set on the hub; "" where there is none.
        licence: of the data set, in a few words.
        patterns: files of the hub's data set that are needed; empty where it cannot be read as it lies there.
        by_hand: how to get the files where they cannot be fetched, an imperative without a full stop.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    hub: ClassVar[str]
    licence: ClassVar[str]
    patterns: ClassVar[tuple[str, ...]]
    by_hand: ClassVar[str] = ""

    @property
    def styles(self) -> dict[str, Style]:
        """The ways to ask, by name."""
        return styles(self.name)

    def style(self, name: str) -> Style:
        """Give one way to ask.

        Args:
            name: of the style.

        Returns:
            The style.

        Raises:
            UserError: the benchmark has no such style.
        """
        if name not in self.styles:
            known = ", ".join(self.styles)
            hint = sentence(close(name, list(self.styles)))
            raise UserError(
                f"expected a style of {known}, got {name!a}, at benchmark {self.name}; "
                f"fix: choose one of them{hint}"
            )
        return self.styles[name]

    @abstractmethod
    def load(self, path: Path) -> BenchmarkSource:
        """Read the questions; pictures stay on disk until they are asked for.

        Args:
            path: the benchmark's folder, or a file of it.

        Returns:
            All records, with the benchmark's own prompt.

        Raises:
            RecordError: a file is missing or of another form.
        """

    @abstractmethod
    def measures(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Measure]:
        """Give the figures that are reported of the benchmark.

        Args:
            records: all records of the source.
            predictions: of some or all of these records, in any order; where some are missing, so are the
                figures that need them, and `all answered (part)` says what was answered.

        Returns:
            The figures in the order of the benchmark's own tables.

        Raises:
            UserError: there is no prediction, or one of an unknown record.
        """
