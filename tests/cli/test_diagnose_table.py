"""The table of `latentvr diagnose` in a terminal of 80 columns, and what its help names."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from latentvr.cli import diagnose
from latentvr.cli.main import app
from latentvr.diagnostics.figures import Figures
from latentvr.diagnostics.interventions import NAMES
from latentvr.runs.diagnosis import Found


def lines(total: int) -> list[str]:
    """The widest figures that there are."""
    widest = Figures("", total, total, -1.0, (-1.0, -1.0), 0.00183, 0.00183, 1.0, 1.0, total)
    figures = {name: replace(widest, name=name) for name in ("baseline", *NAMES)}
    nothing: Any = None  # the table is of the figures alone
    out = io.StringIO()
    console = Console(file=out, width=80, markup=False, highlight=False, soft_wrap=True)
    found = Found(nothing, figures, nothing, None, (), {})
    console.print(diagnose.table(found), soft_wrap=False)
    return out.getvalue().splitlines()


def test_nothing_is_cut_in_the_table_of_conditions() -> None:
    rows = {words[0]: words[1:] for line in lines(9999) if (words := line.split())}
    assert rows["baseline"] == ["100.0", "9999/9999", "100.0", "100.0", "9999"]
    against = ["-100.0", "-100.0", "-100.0", "0.00183"]
    assert rows["bottleneck_drop"] == ["100.0", "9999/9999", *against, "100.0", "100.0", "9999"]
    assert max(map(len, lines(9999))) <= 80


@pytest.mark.parametrize("total", [12_000, 9_999_999])
def test_where_80_columns_are_too_few_names_go_on_below(total: int) -> None:
    text = "\n".join(lines(total))
    assert "…" not in text
    assert text.count(f"{total}/{total}") == 1 + len(NAMES)


@pytest.mark.parametrize("verb", ["eval", "diagnose"])
def test_the_help_names_settings_that_are_not_refused(verb: str) -> None:
    text = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
    assert "data.limit=200" in text
    assert "train.batch_size" not in text
    assert "Run folder, checkpoint, model or hub id" in text


def test_the_help_of_diagnose_names_interventions() -> None:
    text = CliRunner().invoke(app, ["diagnose", "--help"], env={"COLUMNS": "200"}).output
    assert "drop,swap" in text
    assert {"drop", "swap"} <= set(NAMES)
    assert "docs/diagnose.md" in text
