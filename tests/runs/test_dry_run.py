"""What a dry run tells: about a stage that trains everything, and about reinforcement."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentvr.config.load import load
from latentvr.runs.dry_run import describe, describe_rl

RECIPE = Path(__file__).parents[2] / "recipes" / "sft_tiny.yaml"


def test_all_is_every_parameter(tmp_path: Path) -> None:
    settings = ["optim.trainable=all", "data.toy.train=4", "data.toy.validation=2", "data.feature_cache=off"]
    text = describe(load(RECIPE, [*settings, f"train.output_dir={tmp_path}/run"]))
    lines = [line for line in text.splitlines() if "train (all)" in line]
    assert lines
    assert all(line.endswith("100.000 % of all") for line in lines)


def test_packed_rows_are_counted() -> None:
    settings = ["data.toy.train=30", "data.toy.validation=2", "train.batch_size=2", "data.packing=true"]
    resolved = load(RECIPE, [*settings, "data.pack_length=300", "train.output_dir=no/such"])
    lines = describe(resolved).splitlines()
    (packed,) = [line for line in lines if line.startswith("packed, as in the first stage: 30 samples in ")]
    rows = int(packed.split()[9])
    assert f"in {rows} rows of at most 300 tokens: {30 / rows:.1f} samples" in packed
    steps = {name: round(stage.epochs) * -(-rows // 2) for name, stage in resolved.recipe.stages.items()}
    wanted = [f"stage {name}: {count} optimiser steps under causal" for name, count in steps.items()]
    assert [line for line in lines if "optimiser steps under" in line] == wanted


SHORT = ["data.toy.train=30", "data.toy.validation=2", "train.batch_size=8", "train.gradient_accumulation=2"]
SPANS = Path(__file__).parents[2] / "recipes" / "lvr_tiny.yaml"


def rl_lines(*overrides: str) -> list[str]:
    """What follows the settings in the description of a run of reinforcement."""
    settings = [*SHORT, "train.output_dir=no/such", "rl.num_generations=4", *overrides]
    text = describe_rl(load(SPANS, settings))
    return text.split("\n\n", 1)[1].splitlines()


def test_reinforcement_tells_rounds_rewards_and_the_reference() -> None:
    lines = rl_lines("rl.reward_weights=[1, 0.5]", "rl.steps_per_generation=4", "rl.num_iterations=3")
    assert "reward: 1 x accuracy + 0.5 x format" in lines
    # 4 passes of 8 completions, 2 passes to an optimiser step, all of it 3 times.
    assert "buffer: 8 prompts x 4 = 32 completions on one process, for 6 optimiser steps" in lines
    assert "prompts: 30" in lines
    assert "24 optimiser steps under causal" in lines  # 4 rounds hold 30 prompts
    trains = int(next(line for line in lines if line.startswith("policy: ")).split()[1].replace(",", ""))
    assert f"reference: {trains:,} values are kept twice, {4 * trains:,} bytes; the rest is shared" in lines
    (tokens,) = [line for line in lines if line.startswith("tokens per prompt: ")]
    assert "answer" not in tokens
    assert "latent" not in tokens


def test_processes_share_the_steps() -> None:
    """Breaks when: the number of processes does not reach the steps beside the memory."""
    settings = [
        "data.toy.train=30",
        "data.toy.validation=2",
        "train.batch_size=2",
        "train.output_dir=no/such",
    ]
    resolved = load(RECIPE, settings)
    one, four = (
        [line for line in describe(resolved, n).splitlines() if "optimiser steps under" in line]
        for n in (1, 4)
    )
    epochs = [round(stage.epochs) for stage in resolved.recipe.stages.values()]
    assert [line.split()[2] for line in one] == [f"{15 * n:,}" for n in epochs]
    assert [line.split()[2] for line in four] == [f"{4 * n:,}" for n in epochs]


def test_processes_share_the_rounds() -> None:
    settings = [*SHORT, "train.output_dir=no/such", "rl.num_generations=4", "rl.steps_per_generation=4"]
    lines = describe_rl(load(SPANS, [*settings, "rl.num_iterations=3"]), 2).splitlines()
    assert any(line.endswith("completions on each of 2 processes, for 6 optimiser steps") for line in lines)
    assert "12 optimiser steps under causal" in lines  # 2 rounds of 16 prompts hold 30


def test_without_a_divergence_there_is_no_reference() -> None:
    assert "reference: none, rl.beta is 0" in rl_lines("rl.beta=0")


def test_new_adapters_are_no_part_of_the_reference() -> None:
    """The model without them is what it was: the rows of new tokens alone are kept."""
    (alone,) = [line.split()[1] for line in rl_lines("optim.trainable=tokens") if line.startswith("policy: ")]
    lines = rl_lines("optim.trainable=lora", "model.lora.dropout=0")
    assert any(line.startswith(f"reference: {alone} values are kept twice, ") for line in lines)


@pytest.mark.filterwarnings("error::FutureWarning")
def test_counting_adapters_asks_for_nothing_that_will_be_removed() -> None:
    """Such warnings would stand above what the user asked for."""
    assert any("train (lora)" in line for line in rl_lines("optim.trainable=lora", "model.lora.dropout=0"))


def test_steps_overrule_passes() -> None:
    assert "7 optimiser steps under causal" in rl_lines("rl.steps=7", "rl.epochs=9")


def test_missing_prompts_are_said() -> None:
    lines = rl_lines("data.source=records", "data.train=no/t.jsonl", "train.keep=last")
    assert any(line.startswith("steps and tokens per prompt: not known, ") for line in lines)
