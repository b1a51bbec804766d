"""One self-contained HTML file about a run: a verdict, tables, drawings, attention overlays and completions.

The file loads nothing (a content security policy forbids it), holds no script, and escapes all text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from latentvr.data.picture import data_uri
from latentvr.evaluation.bars import BarChart, draw_bars
from latentvr.evaluation.chart import Chart, draw
from latentvr.evaluation.overlay import Picture
from latentvr.evaluation.overlay_grid import OverlayGrid
from latentvr.evaluation.scatter import Scatter, draw_scatter

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ReportTable:
    """A table of texts.

    Attributes:
        caption: what it shows.
        header: names of the columns.
        rows: one text per column.
        note: how to read it; empty for none.
        prose: columns, counted from 0, that hold sentences: they stand at the left and have several lines.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    prose: tuple[int, ...] = ()


@dataclass(frozen=True)
class Example:
    """A sample with what the model made of it.

    Attributes:
        id: the record's id.
        prompt: what the model was asked.
        answer: the expected answer.
        prediction: what the model wrote.
        correct: None where no answer was found in it.
        pictures: images and overlays, as `latent_pictures` gives them.
    """

    id: str
    prompt: str
    answer: str
    prediction: str
    correct: bool | None
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Group:
    """A prompt with what a policy wrote for it while it was trained.

    Attributes:
        heading: such as the step and the record's id.
        prompt: what the model was asked.
        answer: the expected answer.
        completions: (text, figures) of each completion, such as its rewards.
    """

    heading: str
    prompt: str
    answer: str
    completions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class VerdictBox:
    """What a report comes to.

    Attributes:
        word: shown large.
        sentence: the word in a sentence, with the figures that decide it.
        rule: how the word was found.
        reasons: one for each test of the rule.
    """

    word: str
    sentence: str
    rule: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class CardAnswer:
    """What a model wrote for a record under one condition.

    Attributes:
        condition: such as "baseline", or what was done to the latents.
        text: what it wrote.
        correct: None where no answer was found in it.
        probability: of the right answer under teacher forcing; None where it was not measured.
        changed: whether the answer differs from the baseline's.
    """

    condition: str
    text: str
    correct: bool | None
    probability: float | None = None
    changed: bool = False


@dataclass(frozen=True)
class Card:
    """A record with its answers under several conditions.

    Attributes:
        id: the record's id.
        prompt: what the model was asked.
        expected: the right answer.
        pictures: its images, small.
        answers: one for each condition.
    """

    id: str
    prompt: str
    expected: str
    pictures: tuple[Picture, ...] = ()
    answers: tuple[CardAnswer, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a report says, from top to bottom.

    Attributes:
        title: heading and window title.
        summary: paragraphs.
        verdict: what it comes to.
        tables: figures.
        bars: figures side by side.
        charts: training curves, such as loss per stage and validation accuracy.
        measures: tables of what was measured on the latents themselves.
        scatters: latents in the plane.
        grids: where latents look, by depth.
        cards: records with their answers under several conditions.
        examples: samples with attention overlays.
        groups: prompts with their completions.
        environment: names and values, such as versions and seed.
        command: the command that made the run.
    """

    title: str
    summary: tuple[str, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    charts: tuple[Chart, ...] = ()
    examples: tuple[Example, ...] = ()
    groups: tuple[Group, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    verdict: VerdictBox | None = None
    bars: tuple[BarChart, ...] = ()
    measures: tuple[ReportTable, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    grids: tuple[OverlayGrid, ...] = ()
    cards: tuple[Card, ...] = ()


def render(report: Report) -> str:
    """Write a report as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment.get_template("report.html").render(
        report=report,
        charts=[draw(chart) for chart in report.charts],
        bars=[draw_bars(chart) for chart in report.bars],
        scatters=[draw_scatter(scatter) for scatter in report.scatters],
    )


def write_report(path: str | Path, report: Report) -> Path:
    """Write a report to `path` in one step: a reader sees the old file or the new one, never half."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(render(report), encoding="utf-8", errors="replace")
    os.replace(partial, path)
    return path
