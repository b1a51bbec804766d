"""A real browser shows the report: whole, without complaints, without asking for anything, on a phone too."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentvr.evaluation.bars import Bar, BarChart
from latentvr.evaluation.chart import Chart, Line
from latentvr.evaluation.overlay_grid import layer_grids, photograph
from latentvr.evaluation.report import (
    Card,
    CardAnswer,
    Example,
    Group,
    Report,
    ReportTable,
    VerdictBox,
    write_report,
)
from latentvr.evaluation.scatter import Scatter

CONDITIONS = ("baseline", "identity", "zeros", "noise_matched", "swap", "markers_only", "bottleneck_drop")
PHONE, SHEET = 375, 717  # pixels: a phone, and A4 less margins of 1 cm
HOSTILE = {
    "plain": "which part completes the picture?",
    "script": "</style></svg><script>document.title='run'</script>",
    "attribute": "\"'><img src=http://127.0.0.1:9/x onerror=\"document.title='run'\">",
    "long": "word" * 200,
    "right to left": "\u202eabc \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "control": "nul \x00 bell \x07 escape \x1b[31m surrogate \ud800",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f3fd" * 60,
}


def noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def report(
    text: str, records: int = 3, size: tuple[int, int] = (64, 48), cards: int = 2, grids: int = 1
) -> Report:
    """Build a report with `text` in every field."""
    header = ("condition", "right", "accuracy %", "difference", "interval", "p", "Holm", "flipped %", "why")
    body = tuple(
        (name, "7/10", "70.0", "-5.0", "-9.0 to -1.0", "0.01", "0.04", "12.0", text) for name in CONDITIONS
    )
    table = ReportTable(text, header, body, text, prose=(8,))
    wide = ReportTable(text, (text, text), ((text, text),), text)
    bars = tuple(Bar(name, 70.0, 60.0, 80.0, text) for name in (*CONDITIONS, text))
    points = tuple(map(tuple, np.random.default_rng(0).normal(size=(records, 2)).tolist()))
    labels = tuple(f"{text}{i % 12}" for i in range(records))
    maps = [[np.random.default_rng(r).random((16, 12, 16), np.float32)] for r in range(3)]
    shown = [noise(*size, i) for i in range(max(cards, grids))]
    answers = tuple(CardAnswer(name, text, None, 0.5, True) for name in (*CONDITIONS, text))
    return Report(
        title=text,
        summary=(text,),
        tables=(table, wide),
        charts=(Chart(text, text, text, (Line(text, ((0, 1.0), (1, 2.0))),), ((0, text),)),),
        examples=(Example(text, text, text, text, False, (photograph(text, shown[0]),)),),
        groups=(Group(text, text, text, ((text, text),)),),
        environment={text: text},
        command=text,
        verdict=VerdictBox("used" if text == HOSTILE["plain"] else text, text, text, (text, text)),
        bars=(BarChart(text, text, bars, 75.0, text[:20], (0, 100), ((text, text),), text),),
        measures=(table,),
        scatters=(Scatter(text, points, labels, text), Scatter(text, points, labels, text)),
        grids=tuple(grid for i in range(grids) for grid in layer_grids(text, [shown[i]], maps)),
        cards=tuple(Card(text, text, text, (photograph(text, shown[i]),), answers) for i in range(cards)),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A report's file for each kind of text."""
    folder = tmp_path_factory.mktemp("reports")

    def written(kind: str) -> Path:
        path = folder / f"{kind.replace(' ', '-')}.html"
        return path if path.exists() else write_report(path, report(HOSTILE[kind]))

    return written


def test_the_page_shows_verdict_tables_bars_points_and_maps(
    browser: Any, page: Callable[[str], Path]
) -> None:
    browser.show(1200)
    browser.open(page("plain"))
    assert browser.value("document.querySelector('.verdict .word').innerText") == "used"
    rows = "[...document.querySelector('table').tBodies[0].rows].map(row => row.cells[0].innerText)"
    assert browser.value(rows) == list(CONDITIONS)
    widths = browser.value(
        "[...document.querySelectorAll('rect.bar')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(widths) == len(CONDITIONS) + 1
    assert min(widths) > 100
    drawn = "[...document.querySelectorAll('path.points')].every(e => e.getBoundingClientRect().width > 4)"
    assert browser.value(drawn)
    images = browser.value("[...document.images].map(image => image.naturalWidth)")
    assert len(images) == 1 + 13 + 2
    assert min(images) > 0


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_runs_and_nothing_is_asked_for(browser: Any, page: Callable[[str], Path], kind: str) -> None:
    browser.show(1200)
    browser.open(page(kind))
    assert browser.complaints == []
    assert browser.requests == [page(kind).as_uri()]
    assert browser.value("document.scripts.length") == 0
    assert browser.value("document.title") != "run"
    assert browser.value("document.querySelectorAll('section').length") == 10


def test_the_browser_would_notice(browser: Any, tmp_path: Path) -> None:
    evil = "<p>x</p><img src='http://127.0.0.1:9/x'><script>console.error('seen')</script>"
    path = tmp_path / "evil.html"
    path.write_text(evil)
    browser.open(path)
    assert "http://127.0.0.1:9/x" in browser.requests
    assert any("seen" in complaint for complaint in browser.complaints)
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
    path.write_text(policy + evil)
    browser.open(path)
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_phone_does_not_scroll_sideways(browser: Any, page: Callable[[str], Path], kind: str) -> None:
    browser.show(PHONE)
    browser.open(page(kind))
    assert browser.value("innerWidth") == PHONE
    assert browser.value("document.documentElement.scrollWidth") == PHONE
    outside = (
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('svg') "
        f"&& e.getBoundingClientRect().right > {PHONE}).map(e => e.outerHTML.slice(0, 80))"
    )
    assert browser.value(outside) == []
    if kind == "plain":
        assert browser.value(
            "[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
        )


@pytest.mark.parametrize("kind", HOSTILE)
def test_tables_print_whole(browser: Any, page: Callable[[str], Path], kind: str) -> None:
    browser.show(SHEET, media="print")
    browser.open(page(kind))
    assert browser.value("document.documentElement.scrollWidth") == SHEET
    cells, right = "[...document.querySelectorAll('td, th')]", "e.getBoundingClientRect().right"
    beyond = f"{cells}.filter(e => {right} > {SHEET} + 1).map(e => e.innerText.slice(0, 80))"
    assert browser.value(beyond) == []
    # A box that scrolls is not divided between sheets: a table longer than one would be sliced through a row.
    boxes = "[...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e).overflowX)"
    assert set(browser.value(boxes)) == {"visible"}


def test_the_page_prints_to_pdf_in_light_colours(browser: Any, page: Callable[[str], Path]) -> None:
    browser.show(1200, colours="dark")
    browser.open(page("plain"))
    pdf = b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF-")
    assert 2 <= pdf.count(b"/Type /Page\n") <= 30
    dark = browser.value("getComputedStyle(document.body).color")
    browser.show(SHEET, media="print", colours="dark")
    assert browser.value("getComputedStyle(document.body).color") == "rgb(29, 33, 38)" != dark


def test_numbers_stand_at_the_right_and_sentences_at_the_left(
    browser: Any, page: Callable[[str], Path]
) -> None:
    browser.show(1200)
    browser.open(page("plain"))
    cells = "[...document.querySelector('table').tBodies[0].rows[0].cells]"
    assert browser.value(f"{cells}.map(e => getComputedStyle(e).textAlign)") == ["left"] + ["right"] * 7 + [
        "left"
    ]


def test_right_to_left_text_does_not_turn_what_follows(browser: Any, page: Callable[[str], Path]) -> None:
    browser.show(1200)
    browser.open(page("right to left"))
    place = "e => e.querySelector('bdi').getBoundingClientRect()"
    ends = browser.value(
        f"[...document.querySelectorAll('dd span')].map(e => [e.getBoundingClientRect(), ({place})(e)])"
        ".map(([whole, part]) => [part.left - whole.left, whole.right - part.right])"
    )
    # The verdict "· wrong" comes after the answer, at its right.
    assert all(before < 1 and after > 20 for before, after in ends)
    assert len(ends) == 1


def test_a_report_of_500_records_stays_small(browser: Any, tmp_path: Path) -> None:
    path = write_report(tmp_path / "big.html", report("Jigsaw", 500, (1024, 768), cards=24, grids=6))
    assert path.stat().st_size <= 8_000_000
    browser.show(1200)
    browser.open(path)
    assert browser.complaints == []
    assert browser.value("document.images.length") == 1 + 6 * 13 + 24
