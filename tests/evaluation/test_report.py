"""The report is one file that loads nothing and escapes everything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from latentvr.evaluation.chart import Chart, Line
from latentvr.evaluation.overlay import Picture
from latentvr.evaluation.report import Example, Group, Report, ReportTable, render, write_report

EVIL = "<script>alert(1)</script>\"'><img src=https://example.org/x onerror=alert(2)>&"


class Page(HTMLParser):
    """Tags with their attributes, and the text outside the style sheet."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def full(text: str) -> Report:
    return Report(
        title=text,
        summary=(text,),
        tables=(ReportTable(text, (text,), ((text,),), text),),
        charts=(Chart(text, text, text, (Line(text, ((0, 1.0), (1, float("nan")))),), ((0, text),)),),
        examples=(Example(text, text, text, text, None, (Picture(text, b"png"),)),),
        groups=(Group(text, text, text, ((text, text), ("", "nothing was written"))),),
        environment={text: text},
        command=text,
    )


def test_hostile_text_stays_text_everywhere() -> None:
    page = Page(render(full(EVIL)))
    ours = "html head meta title style body main header h1 h2 h3 p section div article pre small span"
    ours += " table caption thead tbody tr th td ul li i dl dt dd figure figcaption img"
    ours += " svg line text path circle"
    assert {tag for tag, _ in page.tags} <= set(ours.split())
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    # Title twice; summary; table 4; chart title, labels of axes, line and mark 5; example 4, caption 1;
    # completions 5; environment 2; command 1.
    assert page.text.count(EVIL) == 25


def test_an_empty_completion_is_said() -> None:
    assert "(nothing)" in Page(render(full("x"))).text.partition("Completions")[2]


def test_the_file_loads_nothing() -> None:
    html = render(full("x"))
    page = Page(html)
    policies = [m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    (policy,) = policies
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:")
    assert "http" not in policy
    assert [image["src"] for image in page.named("img")] == ["data:image/png;base64,cG5n"]
    assert not re.search(r"url\(|@import|https?://|//[a-z]", html)


def test_an_empty_report_has_no_empty_sections() -> None:
    page = Page(render(Report("only a title")))
    assert "only a title" in page.text
    assert page.named("section") == []


def test_verdicts_are_words_and_not_colours_alone() -> None:
    examples = tuple(Example("i", "p", "a", text, verdict) for text, verdict in
                     (("yes", True), ("no", False), ("", None)))  # fmt: skip
    text = Page(render(Report("t", examples=examples))).text
    assert "yes \u00b7 right" in text
    assert "no \u00b7 wrong" in text
    assert "(nothing) \u00b7 no answer found" in text


def test_gaps_in_a_curve_are_said() -> None:
    assert "(1 values not finite)" in Page(render(full("x"))).text


def test_writing_replaces_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(path, Report("lone surrogate \ud800 and \u00e9")) == path
    assert "\u00e9" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
