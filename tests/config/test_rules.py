"""Each rule refuses what it is about, names the key and lets good recipes pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.config.rules import check, missing_files, require, require_for_evaluation
from latentvr.errors import RecipeError

GOOD = ["data.train=t.jsonl", "data.validation=v.jsonl", "train.output_dir=no/such/folder"]
TOY = ["data.source=toy", "train.output_dir=no/such/folder"]


@pytest.mark.parametrize(
    "overrides",
    [
        GOOD,
        TOY,
        [*GOOD, "reasoner.name=livr"],
        [*GOOD, "data.feature_cache=disk", "data.feature_cache_dir=d", "model.attention=flex"],
        [*GOOD, "data.packing=true", "data.pack_length=512", "model.attention=mask"],
        [*GOOD, "reasoner.name=livr", "reasoner.latents=0", "stages.causal.epochs=0"],
        ["data.train=t.jsonl", "train.keep=last", "train.output_dir=no/such/folder"],
        [*TOY, "data.tasks=[jigsaw]", "stages.causal.epochs=0", "stages.causal.steps=3"],
    ],
)
def test_good_recipes_have_no_problems(overrides: list[str]) -> None:
    assert check(load(None, overrides)) == []


WRONG = [
    ("train.batch_size=0", "train.batch_size", "expected at least 1, got 0"),
    ("model.lora.dropout=1", "model.lora.dropout", "expected at least 0 and less than 1, got 1.0"),
    ("optim.warmup=1.5", "optim.warmup", "expected at least 0 and at most 1, got 1.5"),
    ("optim.learning_rate=0", "optim.learning_rate", "expected more than 0, got 0.0"),
    ("stages.causal.learning_rate=-1", "stages.causal.learning_rate", "expected more than 0, got -1.0"),
    ("stages.causal.epochs=0", "stages", "expected a stage that trains, got causal with 0 epochs"),
    ("stages.causal.steps=0", "stages", "expected a stage that trains, got causal with 0 epochs"),
    ("stages.causal.visibility=bottelneck", "stages.causal.visibility",
     "expected a visibility of causal, bottleneck, answer_only, bottleneck_blind_latents, got 'bottelneck'; "
     "did you mean bottleneck?"),
    ("decode.visibility=x", "decode.visibility", "expected a visibility of causal"),
    ("stages={bottleneck: {epochs: 1}}", "stages.bottleneck.visibility",
     "expected it in a stage called 'bottleneck', got none; fix: add 'visibility: bottleneck' to it"),
    ("data.train=null", "data.train", "expected a records file, got null; fix: set data.train, or"),
    ("data.validation=null", "train.keep", "expected validation data for 'best', got none"),
    ("train.validate_epochs=0", "train.validate_epochs", "expected at least 1 for train.keep=best, got 0"),
    ("model.lora.modules=[]", "model.lora.modules", "expected at least one layer name, got []"),
    ("data.tasks=[a, b, a]", "data.tasks", "expected each name once, got 'a' again"),
    ("data.pack_window=7", "data.pack_window", "expected data.packing=true with it, got false with 7; fix: "),
    ("data.feature_cache_dir=d", "data.feature_cache_dir",
     "expected data.feature_cache=disk with it, got off with d; fix: set data.feature_cache=disk, or leave"),
    ("log.trackers=[wandb, wandb]", "log.trackers", "expected each name once, got 'wandb' again"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "key", "message"), WRONG)
def test_a_broken_rule_names_its_key(override: str, key: str, message: str) -> None:
    problems = check(load(None, [*GOOD, override]))
    assert [problem.key for problem in problems] == [key]
    assert problems[0].message.startswith(message)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["model.min_pixels=9", "model.max_pixels=8"], "model.min_pixels"),
        (["train.device=cpu", "model.dtype=float16"], "model.dtype"),
        (["data.packing=true", "model.attention=two_pass"], "model.attention"),
        (["train.device=cpu", "model.attention=flex"], "model.attention"),
        (["data.pack_length=512"], "data.pack_length"),
        (["reasoner.name=livr", "reasoner.latents=-1"], "reasoner.latents"),
        (["reasoner.name=livr", "reasoner.init_std=-1"], "reasoner.init_std"),
        (["reasoner.name=lvr", "reasoner.end_vector=true"], "reasoner.end_vector"),
        (["reasoner.name=lvr", "decode.latent_steps=0"], "decode.latent_steps"),
        (["reasoner.name=lvr", "decode.latent_steps=-1"], "decode.latent_steps"),
        (["reasoner.name=lvr", "decode.latent_steps=40"], "decode.latent_steps"),
    ],
)
def test_rules_over_several_keys(overrides: list[str], key: str) -> None:
    assert [problem.key for problem in check(load(None, [*GOOD, *overrides]))] == [key]


def test_latent_steps_must_leave_room_for_an_answer() -> None:
    """In an evaluation too; a method without spans has no use for the number."""
    resolved = load(None, [*GOOD, "reasoner.name=lvr", "decode.latent_steps=40"])
    (problem,) = check(resolved)
    assert problem.message == (
        "expected fewer latent steps than decode.max_new_tokens (32), got 40; "
        "fix: raise decode.max_new_tokens or lower decode.latent_steps"
    )
    with pytest.raises(RecipeError, match=r"decode\.latent_steps: expected fewer latent steps"):
        require_for_evaluation(resolved)
    same = ["decode.latent_steps=8", "decode.max_new_tokens=8"]
    assert len(check(load(None, [*GOOD, "reasoner.name=lvr", *same]))) == 1
    require_for_evaluation(load(None, [*GOOD, "reasoner.name=lvr", "decode.latent_steps=31"]))
    assert check(load(None, [*GOOD, "reasoner.name=livr", "decode.latent_steps=40"])) == []


@pytest.mark.parametrize(
    ("override", "key", "part"),
    [
        ("data.tasks=[jigsaww]", "data.tasks", "got 'jigsaww'; did you mean jigsaw?"),
        ("data.toy.size=65", "data.toy.size", "expected a multiple of 64, got 65"),
        ("data.toy.train=0", "data.toy.train", "expected at least 1, got 0"),
        ("data.toy.validation=0", "data.toy.validation", "train.keep=last"),
    ],
)
def test_rules_of_generated_scenes(override: str, key: str, part: str) -> None:
    problems = check(load(None, [*TOY, override]))
    assert [problem.key for problem in problems] == [key]
    assert part in problems[0].message


def test_violations_come_together_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("train:\n  batch_size: 0\n  output_dir: no/such\noptim:\n  warmup: 2\n")
    with pytest.raises(RecipeError) as error:
        require(load(path))
    assert [line.split(": ")[0] for line in str(error.value).splitlines()] == [
        "default data.train",
        f"{path}:5 optim.warmup",
        f"{path}:2 train.batch_size",
        "default train.keep",
    ]


def test_the_output_folder_must_be_empty_or_a_run(tmp_path: Path) -> None:
    resolved = load(None, [*GOOD, f"train.output_dir={tmp_path}"])
    assert check(resolved) == []
    (tmp_path / "thesis.tex").write_text("x")
    assert [problem.key for problem in check(resolved)] == ["train.output_dir"]
    (tmp_path / "manifest.json").write_text("{}")
    assert check(resolved) == []
    file = load(None, [*GOOD, f"train.output_dir={tmp_path / 'thesis.tex'}"])
    assert "expected a folder, got a file" in str(check(file)[0])


def test_missing_data_is_told_apart_from_mistakes(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("")
    resolved = load(None, [*GOOD, f"data.train={tmp_path / 't.jsonl'}"])
    assert [problem.key for problem in missing_files(resolved)] == ["data.validation"]
    assert missing_files(load(None, TOY)) == []
