"""The wording of the questions, byte for byte, and how it is taken apart."""

from __future__ import annotations

import hashlib
from importlib import resources

import pytest
import yaml

from latentvr.data.builders.prompts import before_choices, options, prompt, question

# Length, first digits of the SHA-256 and last character of each wording, its fields unfilled.
WORDINGS = [
    ("Counting", 40, "b90dafd8e53857fb", "?"),
    ("Jigsaw", 363, "8d7393aaecde28b0", "\n"),
    ("Object_Localization", 349, "c6d11d92e0fd330e", "B"),
    ("Visual_Correspondence", 403, "d27f7dce94a9c952", "D"),
    ("Art_Style", 373, "a7f82d8e81e08ca4", "\n"),
    ("Semantic_Correspondence", 768, "ed14e899883e3036", "\n"),
    ("Functional_Correspondence", 938, "8e9e7d507a5a910d", "\n"),
    ("Relative_Reflectance", 316, "4f804778dbd38aed", "e"),
    ("Visual_Similarity", 234, "3b315bd50f9d068e", "e"),
    ("Relative_Depth", 179, "fb503b348217b436", "r"),
]
FIELDS = {
    "Counting": {"label": "label"},
    "Object_Localization": {"obj": "obj"},
    "Functional_Correspondence": {"action": "action"},
}


@pytest.mark.parametrize(("task", "length", "digest", "last"), WORDINGS)
def test_every_byte_is_as_it_was_agreed(task: str, length: int, digest: str, last: str) -> None:
    fields = FIELDS.get(task, {})
    text = prompt(task, **{name: f"{{{name}}}" for name in fields})
    assert (len(text), text[-1]) == (length, last)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_no_wording_is_without_a_check() -> None:
    text = resources.files("latentvr.data.builders").joinpath("prompts.yaml").read_text(encoding="utf-8")
    assert sorted(yaml.safe_load(text)) == sorted(task for task, *_ in WORDINGS)


@pytest.mark.parametrize(
    ("task", "texts"),
    [
        ("Counting", ()),
        ("Jigsaw", ("the second image", "the third image")),
        ("Object_Localization", ("Box A", "Box B")),
        ("Visual_Correspondence", ("Point A", "Point B", "Point C", "Point D")),
        ("Relative_Reflectance", ("A is darker", "B is darker", "About the same")),
    ],
)
def test_choices_are_the_texts_behind_the_letters(task: str, texts: tuple[str, ...]) -> None:
    assert options(task) == texts


@pytest.mark.parametrize("task", [task for task, *_ in WORDINGS])
def test_a_question_is_the_prompt_up_to_its_choices(task: str) -> None:
    whole, bare = prompt(task, **FIELDS.get(task, {})), question(task, **FIELDS.get(task, {}))
    assert whole.startswith(bare)
    assert bare == bare.strip()
    assert "(A)" not in bare
    assert bare.endswith(("?", "choices.", "options."))
    assert before_choices(whole) == bare


def test_braces_in_a_filled_text_stay() -> None:
    assert (
        prompt("Counting", label="{label} {obj} \\1") == "How many {label} {obj} \\1 are there in the image?"
    )


@pytest.mark.parametrize(
    ("task", "fields"),
    [("Jigsaws", {}), ("Counting", {}), ("Counting", {"obj": "x"}), ("Jigsaw", {"obj": "x"})],
)
def test_unknown_tasks_and_fields_are_refused(task: str, fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"task|fields"):
        prompt(task, **fields)
