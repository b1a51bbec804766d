"""Explanations come from the texts under the fields, for every key."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentvr.config.explain import docs_reference, explain
from latentvr.config.fields import leaves, tree
from latentvr.errors import RecipeError
from latentvr.reasoners import registry

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"


@pytest.mark.parametrize("name", registry.builtin_names())
def test_every_key_has_a_text_that_ends_in_a_full_stop(name: str) -> None:
    bare = [leaf.key for leaf in leaves(tree(registry.config_class(name))) if not leaf.doc.endswith(".")]
    assert bare == []


def test_a_key_with_a_value() -> None:
    assert explain("optim.warmup").to_text() == (
        "optim.warmup\n  type     number\n  default  0.05\n"
        "  Share of each stage's steps with a linearly rising learning rate."
    )


def test_choices_and_lists_and_null() -> None:
    assert explain("optim.schedule").variants[0].leaf.type_text == "cosine | linear | constant"
    assert explain("data.tasks").variants[0].leaf.type_text == "list of text"
    assert explain("data.limit").variants[0].leaf.type_text == "whole number or null"


def test_a_key_of_a_method_names_the_method() -> None:
    variants = explain("reasoner.latents").variants
    assert ("livr", 16) in [(variant.method, variant.leaf.default) for variant in variants]


@pytest.mark.parametrize("key", ["stages.<name>.epochs", "stages.bottleneck.epochs"])
def test_a_stage_may_have_any_name(key: str) -> None:
    assert explain(key).variants[0].leaf.doc.startswith("Passes over the training data")


def test_a_section_lists_its_keys() -> None:
    keys = [key for key, _ in explain("model.lora").keys]
    assert keys == ["model.lora.r", "model.lora.alpha", "model.lora.dropout", "model.lora.modules"]
    assert "reasoner" in [key for key, _ in explain().keys]


def test_an_unknown_key() -> None:
    with pytest.raises(RecipeError) as error:
        explain("optim.lr")
    assert (
        str(error.value) == "expected a key of the recipe, got 'optim.lr'; did you mean optim.learning_rate?"
    )


def test_the_reference_page_is_up_to_date() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == docs_reference(), (
        "run: latentvr explain --markdown > docs/reference.md"
    )
