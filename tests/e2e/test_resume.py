"""A run that is killed and resumed equals the unbroken run, bit by bit."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

SETTINGS = [
    "model.path=tiny-qwen2.5-vl",
    "data.source=records",
    "data.feature_cache=off",
    "stages.bottleneck.epochs=1.6",
    "stages.causal.epochs=2",
    "train.batch_size=2",
    "train.gradient_accumulation=2",
    "train.save_steps=2",
    "train.save_limit=1",
    "decode.max_new_tokens=3",
    "log.every=1",
    "log.samples=true",
]
# 18 records, batches of 2, two to a step: 5 steps to an epoch, the last of one batch; 8 + 10 steps in all.
RECORDS, STAGE_1, STEPS = 18, 8, 18

KINDS: dict[str, list[str]] = {
    "lora": ["optim.trainable=lora"],
    "language": ["optim.trainable=language"],
    "lora, then language": ["optim.trainable=lora", "stages.causal.trainable=language"],
    "bfloat16 language": ["optim.trainable=language", "model.dtype=bfloat16"],
    "bfloat16 lora, then all": [
        "optim.trainable=lora",
        "stages.causal.trainable=all",
        "model.dtype=bfloat16",
    ],
    "rare log lines": ["optim.trainable=lora", "log.every=3"],
    # Chance decides which samples are fed the model's own latents, more and more of them through a stage.
    "latent spans": ["optim.trainable=language", "reasoner.slot_inputs=mixed", "decode.latent_steps=1"],
}

# Where the run dies: the kind of run, an audit event, a part of its path, which occurrence; and the newest
# checkpoint that is then whole. `metrics.jsonl` is opened for a row after each step, and flushed at a save.
KILLS: dict[str, tuple[str, tuple[str, str, int], int | None]] = {
    "before the first save": ("lora", ("open", "metrics.jsonl", 1), None),
    "inside stage 1": ("lora", ("open", "metrics.jsonl", 7), 4),
    "inside stage 1, language": ("language", ("open", "metrics.jsonl", 7), 4),
    "at the switch": ("lora", ("open", "step-8/latentvr.json", 1), 8),
    "at the switch, merging": ("lora, then language", ("open", "step-8/latentvr.json", 1), 8),
    "inside stage 2": ("lora", ("open", "metrics.jsonl", 17), 10),
    "inside stage 2, language": ("language", ("open", "metrics.jsonl", 17), 10),
    "inside stage 2, merged": ("lora, then language", ("open", "metrics.jsonl", 17), 10),
    "inside stage 2, bfloat16": ("bfloat16 language", ("open", "metrics.jsonl", 17), 10),
    "inside stage 2, all": ("bfloat16 lora, then all", ("open", "metrics.jsonl", 17), 10),
    "between rare log lines": ("rare log lines", ("os.rename", "step-14.partial", 1), 13),
    "inside stage 2, latent spans": ("latent spans", ("open", "metrics.jsonl", 17), 10),
    "inside an accumulation window": ("lora", ("open", ".png", 21), 4),
    "while a checkpoint is written": ("lora", ("open", "step-6.partial/run_state", 1), 4),
    "before a checkpoint has its name": ("lora", ("os.rename", "step-12.partial", 1), 10),
    "before the best checkpoint is linked": ("lora", ("os.symlink", "step-13", 1), 13),
    "after the last save": ("lora", ("os.symlink", "step-18", 1), 18),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe on records with images on disk."""
    from latentvr.data import toy

    folder = tmp_path_factory.mktemp("records")
    for split, count in (("train", RECORDS), ("validation", 4)):
        toy.write(toy.Toy(["counting"], split, count, 1, 64), folder / split)
    text = Path("tests/e2e/tiny.yaml").read_text()
    text = text.replace("  source: toy\n", "").replace("  tasks: [counting]\n", "")
    files = {split: next((folder / split).glob("*.jsonl")) for split in ("train", "validation")}
    lines = "".join(f"  {split}: {file}\n" for split, file in files.items())
    path = folder / "recipe.yaml"
    path.write_text(text.replace("data:\n", f"data:\n{lines}"))
    spans = path.read_text().replace("  name: livr\n  latents: 8\n", "  name: lvr\n")
    path.with_name("latent spans.yaml").write_text(spans)
    return path


@pytest.fixture(scope="module")
def unbroken(latentvr: Any, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run folders of unbroken runs by kind, each made once."""
    made: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("unbroken") / "run"
            done = latentvr("train", *arguments(recipe, kind, made[kind]))
            assert done.code == 0, done.err
        return made[kind]

    return run


def arguments(recipe: Path, kind: str, folder: Path) -> list[str]:
    named = recipe.with_name(f"{kind}.yaml")
    recipe = named if named.exists() else recipe
    return [str(recipe), *SETTINGS, *KINDS[kind], f"train.output_dir={folder}"]


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a checkpoint, without those that hold the run folder's own name."""
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.name not in ("complete.json",)}


def assert_equal_runs(got: Path, want: Path) -> None:
    assert (got / "metrics.jsonl").read_text() == (want / "metrics.jsonl").read_text()
    names = {p.name for p in (want / "checkpoints").iterdir()}
    assert {p.name for p in (got / "checkpoints").iterdir()} == names
    for name in names:
        found, wanted = contents(got / "checkpoints" / name), contents(want / "checkpoints" / name)
        assert sorted(found) == sorted(wanted)
        differing = [file for file in wanted if found[file] != wanted[file]]
        assert differing == [], name
        assert (got / "checkpoints" / name).resolve().name == (want / "checkpoints" / name).resolve().name


QUICK = (
    "inside stage 1",
    "at the switch, merging",
    "inside stage 2",
    "inside stage 2, latent spans",
    "before the best checkpoint is linked",
)


@pytest.mark.parametrize(
    "point", [point if point in QUICK else pytest.param(point, marks=pytest.mark.slow) for point in KILLS]
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    point: str, latentvr: Any, recipe: Path, unbroken: Any, tmp_path: Path
) -> None:
    kind, kill, newest = KILLS[point]
    argv = arguments(recipe, kind, tmp_path / "run")
    assert latentvr("train", *argv, kill=kill).code == -signal.SIGKILL
    steps = [int(p.name[5:]) for p in (tmp_path / "run" / "checkpoints").glob("step-*[0-9]")]
    assert max(steps, default=None) == newest
    done = latentvr("train", *argv, "--resume")
    assert done.code == 0, done.err
    assert f"resuming after step {newest or 0} of {tmp_path / 'run'}" in done.err
    assert_equal_runs(tmp_path / "run", unbroken(kind))


def test_loader_processes_change_nothing(latentvr: Any, recipe: Path, unbroken: Any, tmp_path: Path) -> None:
    argv = [*arguments(recipe, "lora", tmp_path / "run"), "data.workers=2"]
    assert latentvr("train", *argv, kill=("open", "metrics.jsonl", 17)).code == -signal.SIGKILL
    done = latentvr("train", *argv, "--resume")
    assert done.code == 0, done.err
    assert_equal_runs(tmp_path / "run", unbroken("lora"))


def test_a_run_that_is_killed_twice(latentvr: Any, recipe: Path, unbroken: Any, tmp_path: Path) -> None:
    argv = arguments(recipe, "lora", tmp_path / "run")
    assert latentvr("train", *argv, kill=("open", "metrics.jsonl", 7)).code == -signal.SIGKILL
    again = latentvr("train", *argv, "--resume", kill=("os.rename", "step-6.partial", 1))
    assert again.code == -signal.SIGKILL
    done = latentvr("train", *argv, "--resume")
    assert done.code == 0, done.err
    assert_equal_runs(tmp_path / "run", unbroken("lora"))
    resumed = json.loads((tmp_path / "run" / "manifest.json").read_text())["resumed"]
    assert [entry["step"] for entry in resumed] == [4, 4]


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(
    latentvr: Any, recipe: Path, unbroken: Any, tmp_path: Path
) -> None:
    shutil.copytree(unbroken("lora"), tmp_path / "run", symlinks=True)
    done = latentvr("train", *arguments(recipe, "lora", tmp_path / "run"), "--resume")
    assert done.code == 0, done.err
    assert_equal_runs(tmp_path / "run", unbroken("lora"))


def test_dropout_is_on_and_every_step_changes_the_weights(unbroken: Any) -> None:
    """The comparisons above would say nothing about generators and moments without this."""
    card = json.loads((unbroken("lora") / "checkpoints" / "last" / "latentvr.json").read_text())
    assert card["model"]["lora"]["dropout"] == 0.05
    moments = load_file(unbroken("lora") / "checkpoints" / "last" / "optimizer.safetensors")
    steps = {float(tensor) for name, tensor in moments.items() if name.endswith(".step")}
    assert steps == {STEPS - STAGE_1}
    assert all(bool(t.ne(0).any()) for name, t in moments.items() if name.endswith("exp_avg"))
