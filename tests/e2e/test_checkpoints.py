"""Damaged checkpoints, full disks, infinite losses and schedules, through the command line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

RECIPE = [
    "tests/e2e/tiny.yaml",
    "model.path=tiny-qwen2.5-vl",
    "data.toy.train=14",
    "data.toy.validation=4",
    "data.feature_cache=off",
    "stages.bottleneck.epochs=1.5",
    "stages.causal.epochs=2",
    "optim.trainable=lora",
    "optim.warmup=0.3",
    "train.batch_size=2",
    "train.gradient_accumulation=2",
    "train.save_limit=9",
    "decode.max_new_tokens=2",
    "log.every=1",
    "log.samples=true",
]
# 7 batches, 4 steps to an epoch; 6 steps in the first stage, saved at 4 and 6, then 8, saved at 10 and 14.
PEAK = 1e-3


@pytest.fixture(scope="module")
def run(latentvr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = latentvr("train", *RECIPE, f"train.output_dir={folder}")
    assert done.code == 0, done.err
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def test_each_stage_has_a_schedule_of_its_own(run: Path) -> None:
    def wanted(step: int, total: int) -> float:
        warm = math.ceil(0.3 * total)
        if step < warm:
            return PEAK * step / warm
        return PEAK * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))

    want = [wanted(step, 6) for step in range(6)] + [wanted(step, 8) for step in range(8)]
    assert [row["learning_rate"] for row in rows(run)] == pytest.approx(want, rel=1e-12)


def test_every_epoch_holds_every_sample_once_and_the_last_step_of_it_is_smaller(run: Path) -> None:
    steps = [row["samples"] for row in rows(run)]
    assert [len(samples) for samples in steps] == [4, 4, 4, 2, 4, 4] + [4, 4, 4, 2] * 2
    epochs = [[name for samples in steps[start : start + 4] for name in samples] for start in (0, 6, 10)]
    assert all(len(set(epoch)) == 14 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_seed_changes_the_order_and_a_stage_of_0_epochs_is_left_out(
    latentvr: Any, run: Path, tmp_path: Path
) -> None:
    argv = [*RECIPE, "train.seed=7", "stages.bottleneck.epochs=0", f"train.output_dir={tmp_path}/run"]
    assert latentvr("train", *argv).code == 0
    other = rows(tmp_path / "run")
    assert {row["stage"] for row in other} == {"causal"}
    assert [row["samples"] for row in other] != [row["samples"] for row in rows(run)[6:]]


def test_checkpoints_links_and_what_they_hold(run: Path) -> None:
    names = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert names == ["best", "last", "step-10", "step-14", "step-4", "step-6"]
    assert (run / "checkpoints" / "last").resolve().name == "step-14"
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    scores = {row["step"]: row["validation_accuracy"] for row in lines if "validation_accuracy" in row}
    first_best = max(scores, key=lambda step: (scores[step], -step))
    assert (run / "checkpoints" / "best").resolve().name == f"step-{first_best}"


def test_keep_last_gives_the_last(latentvr: Any, tmp_path: Path) -> None:
    short = ["stages.bottleneck.steps=1", "stages.causal.steps=2", "train.save_limit=1"]
    done = latentvr("train", *RECIPE, *short, "train.keep=last", f"train.output_dir={tmp_path}/run")
    assert done.code == 0, done.err
    assert done.out == f"checkpoint: {tmp_path}/run/checkpoints/last\n"
    assert (tmp_path / "run" / "checkpoints" / "last").resolve().name == "step-3"


FILES = [
    "adapter_model.safetensors", "optimizer.safetensors", "optimizer.json", "generators-0.safetensors",
    "run_state.json", "trainer_state.json", "latentvr.json", "tokenizer.json", "complete.json",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_offered(
    name: str, latentvr: Any, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    file = tmp_path / "run" / "checkpoints" / "step-14" / name
    file.write_bytes(file.read_bytes()[:-9])
    done = latentvr("train", *RECIPE, f"train.output_dir={tmp_path}/run", "--resume")
    assert done.err == (
        f"error: expected a complete checkpoint, got a damaged {name}, at '{file.parent}'; "
        "fix: remove it and resume from step-10\n"
    )
    assert done.code == 2
    done = latentvr("eval", f"{tmp_path}/run/checkpoints/last")
    assert (done.code, "got a damaged" in done.err) == (2, True)


def test_after_removing_it_the_run_goes_on_from_the_one_before(
    latentvr: Any, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-14")
    done = latentvr("train", *RECIPE, f"train.output_dir={tmp_path}/run", "--resume")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    name = "checkpoints/step-14/adapter_model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


def test_other_training_data_are_refused(latentvr: Any, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    file = tmp_path / "run" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "data": {"records": 14, "sha256": "of other records"}}))
    done = latentvr("train", *RECIPE, f"train.output_dir={tmp_path}/run", "--resume")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        f"error: expected the training data that the run began with, got other records, at {file}; "
        "fix: restore the data, or start a new run folder"
    )


def test_a_full_disk_keeps_the_last_good_checkpoint(latentvr: Any, run: Path, tmp_path: Path) -> None:
    """The limit lets the adapters through and stops the optimiser's moments, which are twice their size."""
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-14")
    argv = ["train", *RECIPE, f"train.output_dir={tmp_path}/run", "--resume"]
    sizes = [(run / "checkpoints" / "step-14" / name).stat().st_size for name in FILES[:2]]
    done = latentvr(*argv, largest_file=sum(sizes) // 2)
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert last.startswith("error: expected to write step-14, got: "), done.err
    assert last.endswith("fix: make room or allow writing there, then go on with --resume")
    assert "Traceback" not in done.err
    assert not list((tmp_path / "run" / "checkpoints").glob("*.partial"))
    done = latentvr(*argv)
    assert done.code == 0, done.err
    name = "checkpoints/step-14/adapter_model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize("trainable", ["lora", "language"])
def test_infinite_losses_stop_the_run_before_the_weights_change(
    trainable: str, latentvr: Any, tmp_path: Path
) -> None:
    argv = [*RECIPE, f"optim.trainable={trainable}", "optim.learning_rate=1e30", "train.save_steps=1"]
    done = latentvr("train", *argv, f"train.output_dir={tmp_path}/run")
    assert done.code == 1
    done_rows = rows(tmp_path / "run")
    step = done_rows[-1]["step"] + 1
    message = done.err.splitlines()[-1]
    assert message.startswith("error: expected finite losses and gradients, got NaN or infinity in '"), (
        done.err
    )
    assert f"at step {step} of stage 'bottleneck', samples counting-train-" in message
    assert message.endswith(
        "; fix: look at these samples, or lower optim.learning_rate; the weights were not changed"
    )
    assert max(int(p.name[5:]) for p in (tmp_path / "run" / "checkpoints").glob("step-*")) == step - 1


def test_tensorboard_has_the_steps_of_the_run(latentvr: Any, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    argv = [*RECIPE, "stages.bottleneck.steps=2", "stages.causal.steps=2", "log.trackers=[tensorboard]"]
    done = latentvr("train", *argv, f"train.output_dir={tmp_path}/run")
    assert done.code == 0, done.err
    found = events.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in found.Scalars("loss")] == [1, 2, 3, 4]
    assert [event.value for event in found.Scalars("loss")] == pytest.approx(
        [row["loss"] for row in rows(tmp_path / "run")]
    )


def test_a_tracker_that_is_not_installed_is_refused(latentvr: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from importlib.util import find_spec

    missing = next(name for name in ("wandb", "trackio", "tensorboard") if find_spec(name) is None)
    argv = [*RECIPE, f"log.trackers=[{missing}]", f"train.output_dir={tmp_path}/run"]
    done = latentvr("train", *argv)
    assert (done.code, done.err) == (
        2,
        f"error: expected the package '{missing}' for log.trackers, got none installed; "
        f"fix: pip install {missing}, or leave it out of log.trackers\n",
    )
