"""A run of reinforcement that is killed or stopped, and resumed, equals the unbroken run, bit by bit."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A round gives two micro-batches, each an optimiser step, and is trained on twice: four steps to a round.
EACH, STEPS = 4, 10
SETTINGS = [
    "tests/e2e/rl_tiny.yaml",
    "rl.rewards=[accuracy, format, fatal]",
    "rl.reward_file=tests/e2e/rl_rewards.py",
    "rl.trust_reward_file=true",
    f"rl.steps={STEPS}",
    "rl.num_iterations=2",
    "rl.steps_per_generation=2",
    "rl.log_completions=8",
    "train.gradient_accumulation=1",
    "train.save_steps=1",
    "train.save_limit=2",
]
SAVED_ROUND = "rollouts-0.safetensors"

KINDS: dict[str, list[str]] = {
    "spans": ["model.path=SPAN_MODEL", "rl.latent_ratio=gaussian", "rl.rollout_noise_std=0.5"],
    "spans, lora": ["model.path=SPAN_MODEL", "optim.trainable=lora", "model.lora.dropout=0"],
    "spans, learned noise": [
        "model.path=SPAN_MODEL", "reasoner.noise=0.05", "rl.latent_ratio=learned", "rl.latent_epsilon=0.1",
        "optim.learning_rate=1e-5",  # ratios of a density as narrow as this overflow under large updates
    ],
    "prompt": ["reasoner.name=livr", "rl.temperature=3"],
    "prompt, no reference, bfloat16": [
        "reasoner.name=livr", "rl.temperature=3", "rl.beta=0", "model.dtype=bfloat16", "log.every=3",
    ],
    "best is kept": ["model.path=SPAN_MODEL", "train.keep=best", "train.validate_epochs=1"],
}  # fmt: skip

# The kind of run, what kills it (an audit event, a part of its path, which occurrence; or a signal that a
# reward sends in a round), and the newest checkpoint that is then whole.
Death = tuple[str, str, int]
KILLS: dict[str, tuple[str, Death | int, int]] = {
    "inside a buffer": ("spans", ("os.rename", "step-7.partial", 1), 6),
    "inside a buffer, slots in the prompt": ("prompt", ("os.rename", "step-7.partial", 1), 6),
    "after one update on a buffer": ("spans", ("os.rename", "step-6.partial", 1), 5),
    "at the end of a buffer": ("spans", ("os.rename", "step-5.partial", 1), 4),
    "while rewards are given": ("spans", 3, 8),
    "while rewards are given, slots in the prompt": ("prompt", 2, 4),
    "while a round is written": ("spans", ("os.rename", "step-3.partial", 1), 2),
    "between two rows": ("spans", ("open", "completions.jsonl", 48), 5),
    "before the first save": ("spans", ("os.rename", "step-1.partial", 1), 0),
    "lora": ("spans, lora", ("os.rename", "step-7.partial", 1), 6),
    "learned noise": ("spans, learned noise", ("os.rename", "step-7.partial", 1), 6),
    "rare log lines, bfloat16": (
        "prompt, no reference, bfloat16", ("os.rename", "step-7.partial", 1), 6,
    ),
    "best is kept": ("best is kept", ("os.rename", "step-7.partial", 1), 6),
}  # fmt: skip
QUICK = ("inside a buffer", "while rewards are given, slots in the prompt")


@pytest.fixture(scope="module")
def arguments(span_model: Path) -> Callable[[str, Path], list[str]]:
    def made(kind: str, folder: Path) -> list[str]:
        own = [setting.replace("SPAN_MODEL", str(span_model)) for setting in KINDS[kind]]
        return [*SETTINGS, *own, f"train.output_dir={folder}"]

    return made


@pytest.fixture(scope="module")
def unbroken(
    latentvr: Any, arguments: Callable[[str, Path], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Run folders of unbroken runs by kind, each made once."""
    made: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("unbroken") / "run"
            done = latentvr("rl", *arguments(kind, made[kind]))
            assert done.code == 0, done.err
        return made[kind]

    return run


def timeless(entry: Any) -> Any:
    """Figures without the seconds."""
    if isinstance(entry, dict):
        return {key: timeless(value) for key, value in entry.items() if not key.startswith("time/")}
    return [timeless(value) for value in entry] if isinstance(entry, list) else entry


def rows(folder: Path, name: str = "metrics.jsonl") -> list[Any]:
    return [timeless(json.loads(line)) for line in (folder / name).read_text().splitlines()]


def contents(folder: Path) -> dict[str, Any]:
    """Files of a checkpoint, without seconds and without the list of their sums."""
    found: dict[str, Any] = {f.name: f.read_bytes() for f in folder.iterdir() if f.name != "complete.json"}
    return {**found, "trainer_state.json": timeless(json.loads(found["trainer_state.json"]))}


def assert_equal_runs(got: Path, want: Path) -> None:
    assert rows(got) == rows(want)
    assert (got / "completions.jsonl").read_bytes() == (want / "completions.jsonl").read_bytes()
    names = {p.name for p in (want / "checkpoints").iterdir()}
    assert {p.name for p in (got / "checkpoints").iterdir()} == names
    for name in names:
        found, wanted = contents(got / "checkpoints" / name), contents(want / "checkpoints" / name)
        assert sorted(found) == sorted(wanted)
        assert [file for file in wanted if found[file] != wanted[file]] == [], name


def newest(folder: Path) -> int:
    return max((int(p.name[5:]) for p in (folder / "checkpoints").glob("step-*[0-9]")), default=0)


@pytest.mark.parametrize(
    "point", [point if point in QUICK else pytest.param(point, marks=pytest.mark.slow) for point in KILLS]
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    point: str, latentvr: Any, arguments: Any, unbroken: Any, tmp_path: Path
) -> None:
    kind, death, step = KILLS[point]
    folder = tmp_path / "run"
    argv = arguments(kind, folder)
    if isinstance(death, int):
        killed = latentvr("rl", *argv, IN_ROUND=str(death), SIGNAL="SIGKILL")
    else:
        killed = latentvr("rl", *argv, kill=death)
    assert killed.code == -signal.SIGKILL, killed.err
    assert newest(folder) == step
    if step:
        inside = step % EACH != 0
        assert (folder / "checkpoints" / f"step-{step}" / SAVED_ROUND).exists() == inside
    done = latentvr("rl", *argv, "--resume")
    assert done.code == 0, done.err
    if step:
        assert f"resuming after step {step} of {folder}" in done.err
    assert_equal_runs(folder, unbroken(kind))


@pytest.mark.parametrize("kind", ["spans", pytest.param("prompt", marks=pytest.mark.slow)])
def test_a_signal_saves_inside_a_buffer_and_the_run_goes_on(
    kind: str, latentvr: Any, arguments: Any, unbroken: Any, tmp_path: Path
) -> None:
    """The signal comes while the second round is judged; the step that follows is the round's first."""
    folder = tmp_path / "run"
    argv = [a for a in arguments(kind, folder) if not a.startswith("train.save_")]
    stopped = latentvr("rl", *argv, IN_ROUND="2", SIGNAL="SIGTERM")
    assert stopped.code == 143, stopped.err
    saved = folder / "checkpoints" / f"step-{EACH + 1}"
    assert stopped.err.splitlines()[-1] == (
        f"error: stopped by a signal after a save at {saved}; go on with --resume"
    )
    assert (saved / SAVED_ROUND).is_file()
    done = latentvr("rl", *argv, "--resume")
    assert done.code == 0, done.err
    whole = unbroken(kind)
    assert rows(folder) == rows(whole)
    assert (folder / "completions.jsonl").read_bytes() == (whole / "completions.jsonl").read_bytes()
    last = f"checkpoints/step-{STEPS}"
    assert contents(folder / last) == contents(whole / last)


def test_the_comparison_sees_rounds_that_differ(unbroken: Any) -> None:
    """Equal runs would say little if every round, or every step on one, were the same."""
    for kind in ("spans", "prompt"):
        steps = [row for row in rows(unbroken(kind)) if "loss" in row]
        assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
        assert len({row["loss"] for row in steps}) == STEPS
        assert len({row["reward"] for row in steps}) > 1
        texts = rows(unbroken(kind), "completions.jsonl")
        first, later = ({row["completion"] for row in texts if row["step"] == step} for step in (1, EACH + 1))
        assert first != later
    assert any(row["latent_steps"] for row in rows(unbroken("spans"), "completions.jsonl"))


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(
    latentvr: Any, arguments: Any, unbroken: Any, tmp_path: Path
) -> None:
    shutil.copytree(unbroken("prompt"), tmp_path / "run", symlinks=True)
    done = latentvr("rl", *arguments("prompt", tmp_path / "run"), "--resume")
    assert done.code == 0, done.err
    assert_equal_runs(tmp_path / "run", unbroken("prompt"))


@pytest.fixture(scope="module")
def broken_off(
    latentvr: Any, arguments: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A run that died inside its first buffer, and its arguments."""
    folder = tmp_path_factory.mktemp("broken_off") / "run"
    argv = arguments("prompt", folder)
    assert latentvr("rl", *argv, kill=("os.rename", "step-3.partial", 1)).code == -signal.SIGKILL
    return folder, argv


def test_damaged_rollouts_are_refused(latentvr: Any, broken_off: tuple[Path, list[str]]) -> None:
    folder, argv = broken_off
    file = folder / "checkpoints" / "step-2" / SAVED_ROUND
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    done = latentvr("rl", *argv, "--resume")
    file.write_bytes(whole)
    assert done.code == 2
    assert [line for line in done.err.splitlines() if line.startswith("error: ")] == [
        f"error: expected a complete checkpoint, got a damaged {SAVED_ROUND}, "
        f"at '{file.parent}'; fix: remove it and resume from step-1"
    ]
    assert "Traceback" not in done.err


@pytest.mark.parametrize("setting", ["rl.beta=0.1", "rl.num_iterations=4", "optim.learning_rate=0.5"])
def test_another_recipe_is_refused(setting: str, latentvr: Any, broken_off: tuple[Path, list[str]]) -> None:
    folder, argv = broken_off
    done = latentvr("rl", *argv, setting, "--resume")
    assert done.code == 2
    key = setting.partition("=")[0]
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: expected {key}=")
    assert "as in the run that is resumed" in errors[0]
    assert str(folder / "resolved.yaml") in errors[0]
