"""Parameters of builders from the command line."""

import dataclasses

import pytest

from latentvr.data.builders.builder import Builder
from latentvr.data.builders.registry import BUILDERS, find, parse_rules
from latentvr.errors import UserError


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_says_what_it_is(name: str) -> None:
    builder = find(name)
    assert issubclass(builder, Builder)
    assert builder.name == name
    assert builder.source
    assert builder.licence
    assert builder.splits
    # Every parameter says what it means and whether the paper states it.
    for field in dataclasses.fields(builder.rules_type):
        assert field.metadata["provenance"] in ("paper", "not in the paper"), field.name
        assert field.metadata["text"], field.name
        assert field.type in ("int", "float", "bool", "str", "int | None"), field.name
        assert field.type != "str" or isinstance(field.default, str)
    for split in builder.splits:
        assert split in {field.name for field in dataclasses.fields(builder.rules_type)}


def test_values_have_the_type_of_their_parameter() -> None:
    rules = parse_rules(find("jigsaw"), ["train=12", "validation=all"])
    assert (rules.train, rules.validation) == (12, None)


def test_a_value_of_the_user_is_not_said_to_be_the_papers() -> None:
    builder = find("jigsaw")
    assert parse_rules(builder, ["train=12"]).written()["train"]["provenance"] == "set by the user"
    untouched = parse_rules(builder, []).written()["train"]
    assert (untouched["value"], untouched["default"], untouched["provenance"]) == (1000, 1000, "paper")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trian=3", "did you mean 'train'"),
        ("train", "KEY=VALUE"),
        ("train=many", "a whole number as train"),
        ("train=-1", "in the range 0 to any"),
        ("train=1.5", "a whole number"),
        ("min_distance=inf", "in the range"),
        ("min_distance=nan", "in the range"),
    ],
)
def test_wrong_parameters_are_told(text: str, said: str) -> None:
    with pytest.raises(UserError, match="at latentvr data build jigsaw; fix: ") as caught:
        parse_rules(find("jigsaw"), [text])
    assert said in str(caught.value)


def test_a_parameter_is_given_once() -> None:
    with pytest.raises(UserError, match="expected train once"):
        parse_rules(find("jigsaw"), ["train=1", "train=2"])


def test_an_unknown_builder_names_those_that_there_are() -> None:
    with pytest.raises(UserError, match="did you mean 'jigsaw'"):
        find("jigsav")
