"""`latentvr rl` through the command line: every method and setting trains, logs and leaves a checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from latentvr.reasoners.registry import names

RECIPE = "tests/e2e/rl_tiny.yaml"
REWARDS = [
    "rl.rewards=[accuracy, format, varied]",
    "rl.reward_file=tests/e2e/rl_rewards.py",
    "rl.trust_reward_file=true",
    "rl.log_completions=8",
]
LOGGED = {
    "step", "stage", "epoch", "loss", "grad_norm", "learning_rate", "reward", "reward_std",
    "rewards/accuracy/mean", "rewards/accuracy/std", "rewards/format/mean", "rewards/format/std",
    "rewards/varied/mean", "rewards/varied/std", "frac_reward_zero_std", "entropy", "clip_ratio/low_mean",
    "clip_ratio/high_mean", "clip_ratio/region_mean", "completions/mean_length", "completions/min_length",
    "completions/max_length", "completions/clipped_ratio", "replay_gap", "time/rollout", "time/reward",
    "time/replay", "time/update",
}  # fmt: skip
OF_SPANS = {"share_never_latent", "share_unclosed", "latent_norm", "latent_drift"}
COMPLETION = [
    "step", "id", "prompt", "answer", "completion", "rewards", "reward", "advantage", "latent_steps",
    "finish",
]  # fmt: skip

Run = Callable[..., tuple[Path, list[dict[str, Any]]]]


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def start(span_model: Path) -> Callable[[str], list[str]]:
    """Settings of a method and the model that it starts from."""

    def settings(method: str) -> list[str]:
        if method == "lvr":
            return [f"model.path={span_model}"]
        # The backbone is sure of its answers; drawn cooler, a group would write the same one throughout.
        return [f"reasoner.name={method}", "rl.temperature=3"]

    return settings


@pytest.fixture(scope="module")
def run(
    latentvr: Any, start: Callable[[str], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """Runs of a method with settings, each made once: the run folder and the rows of optimiser steps."""
    made: dict[tuple[str, ...], Path] = {}

    def trained(method: str, *settings: str) -> tuple[Path, list[dict[str, Any]]]:
        key = (method, *settings)
        if key not in made:
            folder = tmp_path_factory.mktemp("rl") / "run"
            argv = [RECIPE, *REWARDS, *start(method), *settings, f"train.output_dir={folder}"]
            done = latentvr("rl", *argv)
            assert done.code == 0, done.err
            assert f"checkpoint: {folder / 'checkpoints' / 'last'}" in done.out
            made[key] = folder
        return made[key], [row for row in rows(made[key]) if "loss" in row]

    return trained


def weights(checkpoint: Path) -> dict[str, Any]:
    found = {}
    for file in ("model.safetensors", "adapter_model.safetensors"):
        if (checkpoint / file).is_file():
            found.update(load_file(checkpoint / file))
    return found


def moved(folder: Path, start: Path) -> float:
    """Largest change of a weight."""
    before, after = weights(start), weights(folder / "checkpoints" / "last")
    assert before.keys() == after.keys()
    return max(float((before[name].float() - after[name].float()).abs().max()) for name in before)


def assert_on_policy(row: dict[str, Any]) -> None:
    """The first step of a run: replay is sampling, the reference is the policy, no ratio is clipped."""
    assert row["step"] == 1
    assert row["replay_gap"] < 1e-4
    assert abs(row.get("kl", 0.0)) < 1e-6
    for name in ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"):
        assert row[name] == 0


@pytest.mark.parametrize("method", names())
def test_every_method_trains_and_logs_all_figures(method: str, run: Run) -> None:
    folder, steps = run(method)
    spans = OF_SPANS if method == "lvr" else set()
    assert [row["step"] for row in steps] == [1, 2, 3]
    for row in steps:
        assert set(row) == LOGGED | spans | {"kl"}
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    assert_on_policy(steps[0])
    assert steps[0]["reward_std"] > 0
    assert all(row["grad_norm"] > 0 for row in steps)
    assert steps[1]["kl"] > 0
    assert [row["step"] for row in rows(folder) if "validation_accuracy" in row] == [3]
    assert "<svg" in (folder / "report.html").read_text()


@pytest.mark.parametrize("method", names())
def test_completions_are_written_with_their_rewards(method: str, run: Run) -> None:
    folder, steps = run(method)
    written = rows(folder, "completions.jsonl")
    assert [row["step"] for row in written] == [1] * 8 + [2] * 8 + [3] * 8
    for row in written:
        assert list(row) == COMPLETION
        assert row["reward"] == pytest.approx(sum(row["rewards"].values()), abs=1e-6)
    assert len({row["completion"] for row in written}) > 4
    for number in range(3):
        made = written[8 * number : 8 * number + 8]  # of two prompts in turn
        assert made[0]["id"] != made[1]["id"]
        for group in (made[::2], made[1::2]):
            assert len({row["id"] for row in group}) == 1
            assert sum(row["advantage"] for row in group) == pytest.approx(0, abs=1e-5)
    inside = [row["latent_steps"] for row in written]
    assert any(inside) == (method == "lvr")
    assert all(("<|lvr|>" * 2 in row["completion"]) == (row["latent_steps"] > 1) for row in written)
    assert steps[0]["completions/max_length"] <= 14


@pytest.mark.parametrize("method", names())
def test_the_checkpoint_is_evaluated_and_answers(
    method: str, run: Run, latentvr: Any, tmp_path: Path
) -> None:
    folder, _ = run(method)
    done = latentvr("eval", str(folder), f"--out={tmp_path}/eval")
    assert done.code == 0, done.err
    assert "/2" in done.out
    Image.new("RGB", (64, 64), "red").save(tmp_path / "x.png")
    done = latentvr("generate", str(folder), "--image", f"{tmp_path}/x.png", "what digit ?")
    assert done.code == 0, done.err


def test_a_reward_that_is_the_same_for_all_changes_no_weight(run: Run, span_model: Path) -> None:
    """Without divergence and decay nothing else may move them."""
    nothing = ["rl.rewards=[same]", "rl.beta=0", "optim.weight_decay=0"]
    folder, steps = run("lvr", *nothing)
    assert [row["frac_reward_zero_std"] for row in steps] == [1, 1, 1]
    assert [row["grad_norm"] for row in steps] == [0, 0, 0]
    assert moved(folder, span_model) == 0
    folder, _ = run("lvr", *nothing[1:])
    assert moved(folder, span_model) > 1e-5


def test_without_a_weight_of_the_divergence_there_is_no_reference(run: Run) -> None:
    _, steps = run("lvr", "rl.beta=0", "optim.weight_decay=0")
    assert all("kl" not in row for row in steps)


BUFFER = ["rl.steps=4", "rl.steps_per_generation=4", "rl.num_iterations=2", "optim.learning_rate=3e-3"]


def test_a_buffer_is_trained_on_as_often_as_asked(run: Run) -> None:
    """Four micro-batches, two to a step, twice: four steps on one round of rollouts."""
    folder, steps = run("lvr", *BUFFER)
    assert_on_policy(steps[0])
    one_round = ("reward", "reward_std", "completions/mean_length", "latent_norm", "time/rollout")
    for name in (*one_round, "replay_gap"):
        assert len({row[name] for row in steps}) == 1, name
    written = rows(folder, "completions.jsonl")
    texts = [[row["completion"] for row in written if row["step"] == step] for step in (1, 2, 3, 4)]
    assert texts[0] == texts[1] == texts[2] == texts[3]
    # The same completions a second time, under other weights: ratios are no longer 1.
    assert steps[2]["clip_ratio/region_mean"] > 0
    assert steps[3]["latent_drift"] > 10 * steps[0]["latent_drift"]
    assert steps[2]["entropy"] != steps[0]["entropy"]


VARIANTS: dict[str, list[str]] = {
    "lora": ["optim.trainable=lora", "model.lora.dropout=0", "optim.learning_rate=1e-2"],
    "tokens alone": ["optim.trainable=tokens"],
    "vision too": ["optim.trainable=all"],
    "grpo": ["rl.loss_type=grpo"],
    "dapo": ["rl.loss_type=dapo", "rl.steps_per_generation=4"],
    "dr_grpo": ["rl.loss_type=dr_grpo", "rl.scale_rewards=none"],
    "k1": ["rl.kl=k1", "rl.scale_rewards=batch"],
    "k2, corrected": ["rl.kl=k2", "rl.use_bias_correction_kl=true"],
    "narrow sampling": ["rl.top_k=20", "rl.top_p=0.95", "rl.min_p=0.01"],
    "cut completions left out": ["rl.mask_truncated=true", "decode.max_new_tokens=20"],
    "some groups at a time": ["rl.rollout_batch_size=4"],
    "prompts once for each completion": ["rl.share_prompts=false"],
    "features in memory": ["data.feature_cache=memory"],
    "regenerated": [*BUFFER, "rl.replay=regenerated"],
    "own latents of the reference": [*BUFFER, "rl.reference_latents=own"],
    "strict sight": ["decode.visibility=answer_only"],
    "gaussian": ["rl.latent_ratio=gaussian"],
    "gaussian, noise": ["rl.latent_ratio=gaussian", "rl.rollout_noise_std=0.5", "rl.latent_epsilon=0.1"],
    "vmf, noise": ["rl.latent_ratio=vmf", "rl.rollout_noise_std=0.5"],
    "learned": ["rl.latent_ratio=learned", "reasoner.noise=0.05"],
    "learned, no ratio": ["reasoner.noise=0.05"],
    "learned, lora": [
        "rl.latent_ratio=learned", "reasoner.noise=0.05", "optim.trainable=lora", "model.lora.dropout=0",
    ],
    "a reward for some": ["rl.rewards=[accuracy, varied, rarely]", "rl.reward_weights=[1, 0.5, 0.5]"],
    "rewards of latents": ["rl.rewards=[accuracy, format, varied, attention, necessity, roi_reconstruction]"],
}  # fmt: skip
QUICK = ("lora", "dapo", "gaussian, noise", "learned")
NOISY = ("gaussian, noise", "vmf, noise", "learned", "learned, no ratio", "learned, lora")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_every_setting_trains_from_a_first_step_on_policy(name: str, run: Run, latentvr: Any) -> None:
    settings = VARIANTS[name]
    folder, steps = run("lvr", *settings)
    ratio = any(setting.startswith("rl.latent_ratio") for setting in settings)
    assert ratio == ("latent_clip_ratio" in steps[0])
    assert_on_policy(steps[0])
    if ratio:
        assert steps[0]["latent_clip_ratio"] == 0
    assert (steps[0]["latent_drift"] > 1e-3) == (name in NOISY)
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in steps)
    assert steps[1]["kl"] != 0
    done = latentvr("eval", str(folder), "--out", str(folder / "again"))
    assert done.code == 0, done.err


def test_before_the_first_update_regenerated_latents_are_those_that_were_recorded(run: Run) -> None:
    """Context, and with it loss and gradient, are the same; under other weights they are not."""
    for settings in (["rl.replay=regenerated"], ["rl.reference_latents=own"]):
        _, recorded = run("lvr", *BUFFER)
        _, other = run("lvr", *BUFFER, *settings)
        assert other[0]["loss"] == pytest.approx(recorded[0]["loss"], abs=1e-6)
        assert other[0]["grad_norm"] == pytest.approx(recorded[0]["grad_norm"], rel=1e-4)
        assert other[1]["loss"] != pytest.approx(recorded[1]["loss"], abs=1e-6)


@pytest.mark.parametrize("method", ["lvr", pytest.param("livr", marks=pytest.mark.slow)])
def test_weights_of_half_precision_are_trained_under_autocast(method: str, run: Run) -> None:
    """Keys and values of the cache have one number format, and replay is sampling but for rounding."""
    _, steps = run(method, "model.dtype=bfloat16")
    assert steps[0]["replay_gap"] < 0.2
    assert abs(steps[0]["kl"]) < 1e-6
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in steps)


def test_sharing_prompts_saves_work_and_changes_no_figure(run: Run) -> None:
    for settings in ([], VARIANTS["gaussian, noise"]):
        _, shared = run("lvr", *settings)
        _, apart = run("lvr", *settings, "rl.share_prompts=false")
        for a, b in zip(shared, apart, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
            assert a["entropy"] == pytest.approx(b["entropy"], rel=1e-3)
            assert a["reward"] == b["reward"]


def test_what_trains_is_what_was_asked_for(run: Run, span_model: Path) -> None:
    folder, _ = run("lvr")
    before, after = weights(span_model), weights(folder / "checkpoints" / "last")
    changed = {name for name in before if not before[name].equal(after[name])}
    assert any("model.layers.0" in name for name in changed)
    assert not any("visual" in name for name in changed)


MISTAKES: list[tuple[list[str], str]] = [
    (["rl.reward_file=tests/e2e/rl_rewards.py"], "expected rl.trust_reward_file=true with a file whose code"),
    (["rl.rewards=[acuracy]"], "expected rewards of "),
    (["rl.num_generations=6"], "expected whole groups in a buffer of 8 completions"),
    (["rl.steps_per_generation=3"], "expected a multiple of train.gradient_accumulation (2), got 3"),
    (["rl.rollout_batch_size=6"], "expected a multiple of rl.num_generations (4), got 6"),
    (["rl.reward_weights=[1]"], "expected a weight for each of accuracy, format, got 1 for 2"),
    (["decode.repetition_penalty=1.1"], "expected 1 in reinforcement"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES, ids=[settings[0] for settings, _ in MISTAKES])
def test_a_mistake_gives_code_2_and_one_sentence(
    settings: list[str], message: str, latentvr: Any, tmp_path: Path
) -> None:
    done = latentvr("rl", RECIPE, *settings, f"train.output_dir={tmp_path}/new")
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.err
    assert message in errors[0]
    assert "Traceback" not in done.err
    assert done.code == 2
    assert not (tmp_path / "new").exists()
