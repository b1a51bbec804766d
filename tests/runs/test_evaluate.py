"""Evaluation measures what it was asked to measure, and says what that was."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.config.schema import DecodeConfig
from latentvr.data import toy
from latentvr.errors import ImageError, RecipeError, RecordError
from latentvr.runs.evaluate import evaluate
from latentvr.runs.inference import find_checkpoint, load_checkpoint
from latentvr.runs.inference import load as load_assistant
from latentvr.runs.sft import train

SMALL = (
    "data.toy.train=8",
    "data.toy.validation=4",
    "data.toy.test=6",
    "train.batch_size=4",
    "eval.batch_size=4",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "r"
    overrides = [*SMALL, f"train.output_dir={folder}", "train.keep=last", "decode.max_new_tokens=3"]
    epochs = ["stages.bottleneck.epochs=1", "stages.causal.epochs=2", "model.path=tiny-qwen2.5-vl"]
    train(load("recipes/livr_tiny.yaml", [*overrides, *epochs]))
    return folder


def test_a_run_folder_gives_the_checkpoint_that_its_recipe_keeps(run: Path) -> None:
    found = find_checkpoint(run)
    assert found == (run / "checkpoints" / "last").resolve()


def test_results_say_what_they_belong_to(run: Path) -> None:
    result = evaluate(run)
    facts = json.loads((result.folder / "results.json").read_text())
    assert facts["data"]["records"] == 6
    assert [(score["task"], score["total"]) for score in facts["scores"]] == [("similarity", 6)]
    rows = [json.loads(line) for line in (result.folder / "predictions.jsonl").read_text().splitlines()]
    assert [row["condition"] for row in rows] == ["baseline"] * 6
    assert facts["decode"] == dataclasses.asdict(DecodeConfig(max_new_tokens=3, visibility="causal"))


def test_results_of_other_settings_are_not_written_over(run: Path, tmp_path: Path) -> None:
    evaluate(run)
    with pytest.raises(RecipeError, match="expected results of the same decode"):
        evaluate(run, ["decode.visibility=bottleneck"])
    assert evaluate(run, ["decode.visibility=bottleneck"], out=tmp_path).folder == tmp_path


@pytest.mark.parametrize("override", ["reasoner.latents=2", "optim.learning_rate=1", "train.seed=3"])
def test_settings_that_the_checkpoint_fixes_are_refused(run: Path, override: str) -> None:
    with pytest.raises(RecipeError, match="the checkpoint fixes it"):
        evaluate(run, [override])


@pytest.mark.parametrize(
    "override", ["eval.batch_size=0", "decode.max_new_tokens=0", "decode.visibility=all"]
)
def test_settings_out_of_range_are_refused(run: Path, override: str) -> None:
    with pytest.raises(RecipeError, match=override.split("=")[0].replace(".", r"\.")):
        evaluate(run, [override])


def test_settings_of_the_model_are_used(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.max_pixels|max_pixels"):
        evaluate(run, ["model.max_pixels=0"], out=tmp_path)


def test_other_data_bring_their_own_images_and_tasks(run: Path, tmp_path: Path) -> None:
    """The run's own image root, tasks and limit do not hold for `--data`."""
    file = toy.write(toy.Toy(["jigsaw"], "test", 3, 5), tmp_path / "b")
    result = evaluate(run, data=file, split="test", out=tmp_path / "out")
    assert {p.task for p in result.predictions} == {"jigsaw"}
    shutil.rmtree(tmp_path / "b" / "images")
    with pytest.raises(ImageError):
        evaluate(run, data=file, split="test", out=tmp_path / "out")


def test_an_evaluation_keeps_to_the_longest_sample(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="at most 10 tokens"):
        evaluate(run, ["data.max_length=10"], out=tmp_path)


def test_an_assistant_answers_under_its_runs_settings(run: Path) -> None:
    source = toy.Toy(["similarity"], "test", 1, 1)
    assistant = load_assistant(run)
    answer = assistant.generate(source.records[0].prompt, source.images(source.records[0]))
    assert len(answer.ids) <= 3
    with pytest.raises(RecipeError, match="at least 1"):
        assistant.generate("hello", max_new_tokens=0)


def test_a_wholly_trained_language_model_keeps_its_precision(run: Path) -> None:
    import torch

    model = load_checkpoint(run)
    assert model.backbone.embedding_weight.dtype == torch.float32
