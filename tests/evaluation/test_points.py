"""Points are read, and found inside an outline or outside of it."""

from __future__ import annotations

import pytest

from latentvr.data.record import Record
from latentvr.evaluation.answer_rules import RULES

OUTLINE = "[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]"


def record(answer: str, answer_type: str = "mcq", **more: object) -> Record:
    return Record("r1", "t", "test", (), "?", answer, answer_type, **more)  # type: ignore[arg-type]


REGION = record(OUTLINE, "text")


@pytest.mark.parametrize(
    ("text", "answer", "inside"),
    [
        ("(0.5, 0.5)", "(0.5, 0.5)", True), ("[(0.5, 0.5)]", "(0.5, 0.5)", True),
        ("[(0.5,0.5), (0.9,0.9)]", "(0.5, 0.5)", True), ("[(0.9, 0.9), (0.5, 0.5)]", "(0.9, 0.9)", False),
        ("It is at ( 0.5 , 0.5 ).", "(0.5, 0.5)", True), ("[0.5, 0.5]", "(0.5, 0.5)", True),
        ("[[0.5, 0.5], [0.9, 0.9]]", "(0.5, 0.5)", True), ("[0.9, 0.9] (0.5, 0.5)", "(0.5, 0.5)", True),
        ("(0.1, 0.5)", "(0.1, 0.5)", False), ("(500, 500)", "(500, 500)", False),
        ("(0.21, 0.79)", "(0.21, 0.79)", True), ("(0.5 0.5)", None, False), ("0.5, 0.5", None, False),
        ("(0.5, 0.5", None, False), ("[(0.5, 0.5", None, False), ("[(0.5, 0.5), (0.", "(0.5, 0.5)", True),
        ("(.5, .5)", None, False), ("[.5, .5]", "(0.5, 0.5)", True),
        ("[(-0.5, 0.5)]", "(-0.5, 0.5)", False), ("(-0.5, 0.5) (0.5, 0.5)", "(0.5, 0.5)", True),
        ("[5e-1, 5e-1]", "(0.5, 0.5)", True), ("(1., 1.)", "(1, 1)", False),
        ("(0.5, 0.5, 0.5)", None, False), ("[0.5, 0.5, 0.5]", None, False), ("", None, False),
        ("yes", None, False), ("(x, y)", None, False), ("(0.5,\n0.5)", "(0.5, 0.5)", True),
        ("<answer>(0.5, 0.5)</answer>", "(0.5, 0.5)", True), ("(0.5, 50%)", None, False),
        ("(0,5, 0,5)", None, False), ("(nan, 0.5)", None, False), ("(0.5\uff1b0.5)", None, False),
        (f"({'9' * 400}, 0.5)", "(inf, 0.5)", False), ("image (1) (0.5, 0.5)", "(0.5, 0.5)", True),
    ],
)  # fmt: skip
def test_point_in_region(text: str, answer: str | None, inside: bool) -> None:
    assert RULES["point_in_region"].extract(text, REGION) == answer
    assert RULES["point_in_region"].correct(text, REGION) is inside


def fenced(*points: str) -> str:
    return "```json\n[" + ", ".join(f'{{"point_2d": {p}, "label": "x"}}' for p in points) + "]\n```"


@pytest.mark.parametrize(
    ("text", "answer", "inside"),
    [
        (fenced("[500, 500]"), "(0.5, 0.5)", True), (fenced("[900, 900]"), "(0.9, 0.9)", False),
        (fenced("[900, 900]", "[500, 500]"), "(0.9, 0.9), (0.5, 0.5)", True),
        ("Here:\n" + fenced("[500, 500]"), "(0.5, 0.5)", True),
        (fenced("[0.5, 0.5]"), "(0.0005, 0.0005)", False), (fenced("[500.0, 5e2]"), "(0.5, 0.5)", True),
        (fenced("[900, 900]") + fenced("[500, 500]"), "(0.9, 0.9)", False),
        (fenced('"500"', "[500, 500]"), "(0.5, 0.5)", True), (fenced("[500]"), None, False),
        (fenced("[true, true]"), None, False), (fenced("[NaN, 500]"), None, False),
        (fenced("[Infinity, 500]"), None, False), (fenced("null"), None, False),
        (fenced("9" * 5000), None, False), (fenced(f"[{'9' * 4000}, 1]"), None, False),
        (fenced(), None, False), ("[500, 500]", None, False), ("(0.5, 0.5)", None, False),
        ("```json\n[500, 500]\n```", None, False), ('```\n{"point_2d": [500, 500]}\n```', None, False),
        ("```json\n[\n```", None, False), ('```\n[{"point_2d": [500, 500]}]```', "(0.5, 0.5)", True),
        ('```json [{"point_2d": [500, 500]}]```', None, False),
        ('[{"point_2d": [500, 500]}]', None, False), ('```json\n[{"point_2d": [500, 500]}]', None, False),
        ("", None, False),
        (f"<think>{fenced('[900, 900]')}</think>{fenced('[500, 500]')}", "(0.5, 0.5)", True),
        (f"<answer>{fenced('[500, 500]')}</answer>", "(0.5, 0.5)", True), ("```\n5\n```", None, False),
        ("```\n" + "[" * 9999 + "```", None, False),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_any_json_point_in_region(text: str, answer: str | None, inside: bool) -> None:
    assert RULES["any_json_point_in_region"].extract(text, REGION) == answer
    assert RULES["any_json_point_in_region"].correct(text, REGION) is inside


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ("0.25, 0.5", True),
        ("0.5, 0.75", False),
        ("0.5, 0.25", True),
        ("0.75, 0.5", True),
        ("0.95, 0.9", True),
    ],
)
def test_a_region_may_have_a_dent(point: str, inside: bool) -> None:
    dented = record("[(0, 0), (1, 0), (1, 1), (0.5, 0.5), (0, 1)]", "text")
    assert RULES["point_in_region"].correct(f"({point})", dented) is inside
