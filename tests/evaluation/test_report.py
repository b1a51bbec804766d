"""The report is one file that loads nothing and escapes everything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from latentvr.data.picture import data_uri, jpeg, png
from latentvr.evaluation.bars import Bar, BarChart
from latentvr.evaluation.chart import Chart, Line
from latentvr.evaluation.overlay import Picture
from latentvr.evaluation.overlay_grid import OverlayGrid
from latentvr.evaluation.report import (
    Card,
    CardAnswer,
    Example,
    Group,
    Report,
    ReportTable,
    VerdictBox,
    render,
    write_report,
)
from latentvr.evaluation.scatter import Scatter

PNG, JPEG = png(Image.new("RGB", (1, 1))), jpeg(Image.new("RGB", (1, 1)))
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
        examples=(Example(text, text, text, text, None, (Picture(text, PNG),)),),
        groups=(Group(text, text, text, ((text, text), ("", "nothing was written"))),),
        environment={text: text},
        command=text,
        verdict=VerdictBox(text, text, text, (text,)),
        bars=(
            BarChart(text, text, (Bar(text, 1.0, note=text),), 2.0, text, absent=((text, text),), note=text),
        ),
        measures=(ReportTable(text, (text,), ((text,),), text, prose=(0,)),),
        scatters=(Scatter(text, ((0.0, 1.0),), (text,), text),),
        grids=(OverlayGrid(text, Picture(text, JPEG), (text,), ((text, (Picture(text, JPEG),)),), text),),
        cards=(Card(text, text, text, (Picture(text, JPEG),), (CardAnswer(text, text, None, 0.5, True),)),),
    )


def test_hostile_text_stays_text_everywhere() -> None:
    page = Page(render(full(EVIL)))
    ours = "html head meta title style body main header h1 h2 h3 p section div article pre small span"
    ours += " table caption thead tbody tr th td ul li i dl dt dd figure figcaption img"
    ours += " svg line text path circle g rect bdi strong"
    assert {tag for tag, _ in page.tags} <= set(ours.split())
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    # Title twice; summary; table 4; chart title, labels of axes, line and mark 5; example 4, caption 1;
    # completions 5; environment 2; command 1. Then the verdict 4; bars 8, in which names are cut; measures 4;
    # scatter 3; grid 5; card 3, caption 1, answer 2.
    assert page.text.count(EVIL) == 25 + 4 + 8 + 4 + 3 + 5 + 6


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
    images = [image["src"] for image in page.named("img")]
    assert sorted(images, key=str) == [data_uri(JPEG)] * 3 + [data_uri(PNG)]
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


def test_a_page_goes_from_the_verdict_to_how_it_was_made() -> None:
    html = render(full("x"))
    parts = ['class="word"', ">Results<", ">Conditions<", ">Latents<", 'class="scatters"',
             ">Where the latents look<", ">Records<", ">How it was made<"]  # fmt: skip
    places = [html.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("correct", "changed", "said"),
    [(True, False, "right"), (False, True, "wrong, changed"), (None, True, "no answer found, changed")],
)
def test_a_card_says_in_words_what_became_of_an_answer(
    correct: bool | None, changed: bool, said: str
) -> None:
    answers = (CardAnswer("drop", "", correct, 0.12345, changed), CardAnswer("swap", "b", True))
    text = Page(render(Report("t", cards=(Card("i", "p", "e", answers=answers),)))).text
    assert f"drop(nothing){said}probability 0.123" in text
    assert text.count("probability") == 1


def test_sentences_in_a_table_stand_apart_from_numbers() -> None:
    table = ReportTable("c", ("a", "b"), (("1", "why"),), prose=(1,))
    assert [cell.get("class") for cell in Page(render(Report("t", tables=(table,)))).named("td")] == [
        None,
        "prose",
    ]


def test_conditions_without_a_bar_are_listed_with_their_reason() -> None:
    chart = BarChart("t", "%", (Bar("drop", 1.0),), absent=(("oracle", "no regions"),))
    assert "oracle: no regions" in Page(render(Report("t", bars=(chart,)))).text


def test_gaps_in_a_curve_are_said() -> None:
    assert "(1 values not finite)" in Page(render(full("x"))).text


def test_writing_replaces_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(path, Report("lone surrogate \ud800 and \u00e9")) == path
    assert "\u00e9" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
