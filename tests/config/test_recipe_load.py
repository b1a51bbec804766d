"""What a loaded recipe holds, and where each value says it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.errors import RecipeError

BASE = """\
# a comment
reasoner:
  name: livr
  latents: 8
data:
  train: train.jsonl
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_the_defaults_hold() -> None:
    resolved = load(None)
    assert resolved.recipe.reasoner.name == "direct"
    assert resolved.recipe.optim.learning_rate == 1e-4
    assert list(resolved.recipe.stages) == ["causal"]
    assert resolved.text == ""
    assert resolved.path is None


def test_options_of_the_method_are_its_own_class(tmp_path: Path) -> None:
    resolved = load(_write(tmp_path, BASE))
    assert type(resolved.recipe.reasoner).__module__ == "latentvr.reasoners.livr.config"
    assert vars(resolved.recipe.reasoner)["latents"] == 8
    assert resolved.text == BASE


def test_every_value_has_an_origin(tmp_path: Path) -> None:
    path = _write(tmp_path, BASE)
    origins = load(path, ["train.seed=7", "stages.bottleneck.epochs=2"]).provenance
    assert str(origins["reasoner.latents"]) == f"{path}:4"
    assert str(origins["data.train"]) == f"{path}:6"
    assert str(origins["train.seed"]) == "command line"
    assert str(origins["stages.bottleneck.epochs"]) == "command line"
    assert str(origins["stages.bottleneck.visibility"]) == "method default"
    assert str(origins["optim.warmup"]) == "default"


def test_stages_of_the_command_line_merge_and_those_of_the_file_replace(tmp_path: Path) -> None:
    merged = load(_write(tmp_path, BASE), ["stages.bottleneck.epochs=2"]).recipe.stages
    assert [(name, stage.epochs) for name, stage in merged.items()] == [("bottleneck", 2.0), ("causal", 6.0)]
    replaced = load(_write(tmp_path, BASE + "stages:\n  only: {epochs: 3}\n")).recipe.stages
    assert [(name, stage.epochs) for name, stage in replaced.items()] == [("only", 3.0)]


def test_a_whole_mapping_of_stages_on_the_command_line_replaces(tmp_path: Path) -> None:
    stages = load(_write(tmp_path, BASE), ["stages={b: {epochs: 1}, a: {steps: 5}}"]).recipe.stages
    assert list(stages) == ["b", "a"]
    assert stages["a"].steps == 5


def test_empty_stages_take_the_methods_own(tmp_path: Path) -> None:
    path = _write(tmp_path, BASE + "stages: {}\n")
    assert list(load(path).recipe.stages) == ["bottleneck", "causal"]
    path = _write(tmp_path, BASE + "stages: {only: {}}\n")
    assert list(load(path, ["stages={}"]).recipe.stages) == ["bottleneck", "causal"]


def test_an_override_may_change_the_method(tmp_path: Path) -> None:
    path = _write(tmp_path, "reasoner: {name: livr}\n")
    assert list(load(path, ["reasoner.name=direct"]).recipe.stages) == ["causal"]


def test_the_last_override_wins() -> None:
    assert load(None, ["train.seed=1", "train.seed=2"]).recipe.train.seed == 2


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.train=off", "off"),
        ("data.train=no", "no"),
        ("data.train=017", "017"),
        ("data.train=12:30:45", "12:30:45"),
        ("data.train=5", "5"),
        ("data.train=a: b #c", "a: b #c"),
        ("data.train=a=b", "a=b"),
        ("data.train=None", None),
        ("data.train=null", None),
        ("data.train=~", None),
        ("data.train=", None),
        ("data.tasks=[on, 017, 'null']", ["on", "017", "null"]),
        ("data.tasks=[]", []),
        ("data.feature_cache=off", "off"),
        ("data.limit=1_000", 1000),
    ],
)
def test_a_text_is_read_as_its_key_asks(override: str, value: object) -> None:
    data = vars(load(None, [override]).recipe.data)
    got = data[override.split("=")[0].removeprefix("data.")]
    assert got == value
    assert type(got) is type(value)


def test_yaml_of_a_recipe_loads_the_same(tmp_path: Path) -> None:
    first = load(
        _write(tmp_path, BASE),
        ["data.test=off", "optim.eps=1e-9", "data.tasks=[no, '1']", "model.revision='null'"],
    )
    again = load(_write(tmp_path, first.to_yaml()))
    assert again.recipe == first.recipe


def test_environment_values_are_never_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCRATCH", "/canary")
    overrides = [
        "data.image_root=${oc.env:SCRATCH}/d",
        "data.test=${data.image_root}/t",
        "data.train=${train.seed}",
    ]
    resolved = load(None, overrides)
    assert resolved.recipe.data.test == "/canary/d/t"
    assert resolved.recipe.data.train == "42"
    text = resolved.to_yaml()
    assert "canary" not in text
    assert "train: '42'" in text
    assert load(_write(tmp_path, text)).recipe == resolved.recipe


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert vars(load(path).recipe.reasoner)["latents"] == 8


def test_two_loads_share_no_lists() -> None:
    load(None).recipe.model.lora.modules.append("extra")
    assert "extra" not in load(None).recipe.model.lora.modules


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    path = _write(tmp_path, "optim: {lr: 1}\ntrain:\n  seed: abc\n")
    with pytest.raises(RecipeError) as error:
        load(path, ["data.limit=x"])
    starts = [line.split(": ")[0] for line in str(error.value).splitlines()]
    assert starts == [f"{path}:1 optim.lr", f"{path}:3 train.seed", "command line data.limit"]
