"""The page of a real diagnosis in a browser: a verdict, a row per condition, overlays, nothing asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentvr.config.schema import DecodeConfig, EvalConfig, Recipe
from latentvr.data.toy import Toy
from latentvr.diagnostics.interventions import NAMES, chosen
from latentvr.evaluation.report import write_report
from latentvr.runs.diagnosis import Asked, examine
from latentvr.runs.diagnosis_report import diagnosis_report

EVERYTHING = "[...document.querySelectorAll('%s')].map(each => each.innerText)"


def test_a_real_page(lab: Any, browser: Any, tmp_path: Path) -> None:
    model, source = lab.model("tiny-qwen3-vl", "livr", latents=3), Toy(["similarity"], "test", 12, 3)
    recipe = Recipe(decode=DecodeConfig(max_new_tokens=3), eval=EvalConfig(batch_size=8))
    found = examine(model, source, recipe, Asked(chosen([]), seeds=2))
    page = write_report(tmp_path / "report.html", diagnosis_report("run", found, model, source, recipe))
    for width in (1200, 375):
        browser.show(width)
        browser.open(page)
        assert browser.complaints == []
        assert browser.requests == [page.as_uri()]
        assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelector('.verdict .word').innerText") == found.verdict.word
    first = "[...document.querySelector('table').tBodies[0].rows].map(row => row.cells[0].innerText)"
    assert browser.value(first) == ["baseline", *NAMES]
    ran = [name for name in NAMES if name in found.figures]
    assert len(browser.value("[...document.querySelectorAll('rect.bar')].map(e => 1)")) == 1 + len(ran)
    headings = browser.value(EVERYTHING % "h3")
    assert {record.id for record in source.records} <= set(headings)
    assert browser.value("[...document.images].every(image => image.naturalWidth > 0)")
    # Six records with an image each: three ranges of layers by three latents, and the image itself.
    assert browser.value("document.images.length") == 6 * (1 + 3 * 3) + 12
