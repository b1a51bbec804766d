"""What a dry run says of memory: phases, parts, and what changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.runs.dry_run import describe, describe_rl

ROOT = Path(__file__).parents[2]
SHORT = ["data.toy.train=8", "data.toy.validation=2", "train.output_dir=no/such"]
PARTS = ["weights", "gradients", "optimizer", "activations", "logits", "vision", "cache", "all"]

Table = dict[str, dict[str, float]]


def table(text: str) -> Table:
    """Figures by phase and part."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("device memory, estimated"))
    assert lines[first + 1].split() == PARTS
    rows = [line.split() for line in lines[first + 2 : -1]]
    phases = (" ".join(row[: -len(PARTS)]).partition(":")[0] for row in rows)
    figures = (map(float, row[-len(PARTS) :]) for row in rows)
    return {phase: dict(zip(PARTS, row, strict=True)) for phase, row in zip(phases, figures, strict=True)}


def of_training(*settings: str, processes: int = 1) -> Table:
    return table(describe(load(ROOT / "tests/e2e/tiny.yaml", [*SHORT, *settings]), processes))


def test_phases_and_parts_add_up() -> None:
    found = of_training()
    assert list(found) == ["stage bottleneck", "stage causal", "validation"]
    for figures in found.values():
        assert sum(figures[part] for part in PARTS[:-1]) == pytest.approx(figures["all"], abs=0.05)
    assert found["validation"]["cache"] > found["validation"]["gradients"] == 0
    # 887,936 of 1,438,912 parameters train; both kinds are in float32, and AdamW has two moments of 4 bytes.
    assert found["stage causal"]["weights"] == pytest.approx(4 * 1_438_912 / 2**20, abs=0.01)
    assert found["stage causal"]["optimizer"] == pytest.approx(8 * 887_936 / 2**20, abs=0.01)


def test_what_never_runs_needs_nothing() -> None:
    """Breaks when: stages without steps, or a validation without data, are counted."""
    assert list(of_training("stages.bottleneck.epochs=0")) == ["stage causal", "validation"]
    missing = ["data.source=records", "data.train=no/t.jsonl", "train.keep=last"]
    assert list(of_training(*missing)) == ["stage bottleneck", "stage causal"]


def test_rows_recomputation_and_packing_change_activations() -> None:
    """Breaks when: a setting does not reach the estimate."""
    once = of_training()["stage causal"]["activations"]
    again = of_training("train.batch_size=50", "model.gradient_checkpointing=true")
    assert again["stage causal"]["activations"] < once
    packed = of_training("train.batch_size=2", "data.packing=true", "data.pack_length=400")
    assert packed["stage causal"]["activations"] == pytest.approx(once * 2 * 400 / (25 * 43), rel=0.05)


def test_deepspeed_splits_the_optimiser() -> None:
    zero = f"train.deepspeed={ROOT / 'launchers/deepspeed/zero2.json'}"
    one, four = (of_training(zero, processes=n)["stage causal"]["optimizer"] for n in (1, 4))
    assert four == pytest.approx(one / 4, abs=0.01)


def test_reinforcement_tells_of_rollouts_and_updates() -> None:
    resolved = load(ROOT / "recipes/lvr_tiny.yaml", [*SHORT, "rl.num_generations=4", "train.batch_size=4"])
    found = table(describe_rl(resolved))
    assert list(found)[:2] == ["rollouts", "updates"]
    assert found["rollouts"]["cache"] > 0 == found["updates"]["cache"]


def test_without_records_the_longest_rows_are_taken() -> None:
    settings = ["data.source=records", "data.train=no/t.jsonl", "train.keep=last", "train.validate_epochs=0"]
    resolved = load(ROOT / "tests/e2e/tiny.yaml", [*SHORT, *settings, "data.max_length=100"])
    text = describe(resolved)
    assert "(25 x 100 tokens, nearly all of images: no record is at hand)" in text
    assert table(text)["stage causal"]["activations"] > 0
