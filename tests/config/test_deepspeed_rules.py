"""A file of DeepSpeed settings is read or refused in one sentence; what cannot work with it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latentvr.config.deepspeed_rules import read_settings, zero_stage
from latentvr.config.load import load
from latentvr.config.rules import check
from latentvr.config.schema import Recipe
from latentvr.errors import RecipeError

SHIPPED = Path(__file__).parents[2] / "launchers/deepspeed"
TOY = ["data.source=toy", "train.output_dir=no/such/folder"]


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3), ("zero3_offload", 3)])
def test_shipped_files_pass(name: str, stage: int) -> None:
    path = SHIPPED / f"{name}.json"
    resolved = load(None, [*TOY, f"train.deepspeed={path}"])
    assert check(resolved) == []
    assert zero_stage(resolved.recipe) == stage
    settings = read_settings(str(path))
    assert settings["zero_force_ds_cpu_optimizer"] is False  # or AdamW would be another than the recipe's
    assert settings["gradient_clipping"] == settings["gradient_accumulation_steps"] == "auto"
    offloads = settings["zero_optimization"].get("offload_optimizer", {}).get("device")
    assert offloads == ("cpu" if "offload" in name else None)


def test_nothing_is_read_without_the_key() -> None:
    assert zero_stage(Recipe()) is None


@pytest.mark.parametrize("path", ["no/such.json", "launchers/no-such.json"])
def test_a_missing_file_is_named(path: str) -> None:
    with pytest.raises(RecipeError, match=f"got nothing there, at {path}; fix: give the path"):
        read_settings(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"got an error \(is a directory\)"):
        read_settings(str(tmp_path))


def test_shipped_files_are_found_without_a_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "launchers/deepspeed/zero3.json"
    assert read_settings(name) == json.loads((SHIPPED / "zero3.json").read_text())
    own = tmp_path / name
    own.parent.mkdir(parents=True)
    own.write_text('{"zero_optimization": {"stage": 2}}')
    assert read_settings(name)["zero_optimization"] == {"stage": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "expected valid JSON of DeepSpeed settings, got an error"),
        ("[]", "expected zero_optimization.stage 2 or 3 of DeepSpeed settings, got None"),
        ("{}", "expected zero_optimization.stage 2 or 3 of DeepSpeed settings, got None"),
        ('{"zero_optimization": {"stage": 1}}', "of DeepSpeed settings, got 1"),
        ('{"zero_optimization": {"stage": true}}', "got True"),
    ],
)
def test_other_files_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text(text)
    (problem,) = check(load(None, [*TOY, f"train.deepspeed={file}"]))
    assert problem.key == "train.deepspeed"
    assert expected in problem.message
    assert str(file) in problem.message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"optimizer": {"type": "AdamW"}}, "expected no section 'optimizer', got one"),
        ({"scheduler": {"type": "WarmupLR"}}, "expected no section 'scheduler', got one"),
        ({"bf16": {"enabled": True}}, "expected no section 'bf16', got one"),
        ({"train_micro_batch_size_per_gpu": 4}, "expected train_micro_batch_size_per_gpu 'auto', as the"),
        ({"gradient_clipping": 0.0}, "expected gradient_clipping 'auto', as the recipe gives it, got 0.0"),
        (
            {"zero_optimization": {"stage": 2, "compute_grad_norm": False}},
            "expected zero_optimization.compute_grad_norm true",
        ),
        ({"zero_force_ds_cpu_optimizer": True}, "expected zero_force_ds_cpu_optimizer false, got true"),
        (
            {"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}},
            "expected offload_param.device cpu or none, got nvme",
        ),
    ],
)
def test_settings_that_overrule_the_recipe_are_refused(
    change: dict[str, object], expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 2}, "fp16": {"enabled": "auto"}, **change}))
    (problem,) = check(load(None, [*TOY, f"train.deepspeed={file}"]))
    assert problem.key == "train.deepspeed"
    assert problem.message.startswith(expected)


@pytest.mark.parametrize(
    ("override", "file", "key"),
    [
        ("model.dtype=float16", "zero2", "model.dtype"),
        ("model.compile=true", "zero2", "model.compile"),
        ("rl.replay=regenerated", "zero3", "rl.replay"),
        ("reasoner.slot_inputs=own", "zero3", "reasoner.slot_inputs"),
        ("reasoner.slot_inputs=mixed", "zero3", "reasoner.slot_inputs"),
    ],
)
def test_what_cannot_work_with_deepspeed_is_named(override: str, file: str, key: str) -> None:
    given = [*TOY, "reasoner.name=lvr", override]
    alone = [problem.key for problem in check(load(None, given))]
    problems = check(load(None, [*given, f"train.deepspeed={SHIPPED / file}.json"]))
    assert key not in alone
    assert [problem.key for problem in problems] == [*alone, key]


@pytest.mark.parametrize("override", ["rl.replay=regenerated", "reasoner.slot_inputs=own"])
def test_stage_2_can_differ_in_passes(override: str) -> None:
    given = [*TOY, "reasoner.name=lvr", override, f"train.deepspeed={SHIPPED / 'zero2.json'}"]
    assert check(load(None, given)) == []
