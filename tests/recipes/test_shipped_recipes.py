"""Recipes that ship: short, valid, the paper's settings, and sized offline before anything is downloaded."""

import re
from functools import partial
from pathlib import Path

import huggingface_hub.constants
import pytest

from latentvr.cli.main import app, guarded
from latentvr.config.load import load
from latentvr.config.rules import require, require_for_rl
from latentvr.config.schema import LoraConfig, OptimConfig, RLConfig, TrainConfig
from latentvr.rl.rounds import rounds
from latentvr.runs.sft import stage_runs

ROOT = Path(__file__).parents[2]
OF_ANOTHER_KIND = {"demo.yaml", "tiny_backbone.yaml"}
RECIPES = sorted(p.name for p in (ROOT / "recipes").glob("*.yaml") if p.name not in OF_ANOTHER_KIND)
# The run that each recipe of reinforcement goes on from, and the plain model of that run.
STARTS = {
    "lvr_grpo_3b.yaml": ("lvr_qwen25vl_3b.yaml", "Qwen/Qwen2.5-VL-3B-Instruct"),
    "livr_grpo_qwen3_4b.yaml": ("livr_qwen3_4b.yaml", "Qwen/Qwen3-VL-4B-Instruct"),
    "lvr_grpo_tiny.yaml": ("lvr_tiny.yaml", "tiny-backbone"),
    "livr_grpo_tiny.yaml": ("livr_tiny.yaml", "tiny-backbone"),
}
SUPERVISED = [name for name in RECIPES if name not in STARTS]
LARGE = [name for name in SUPERVISED if "tiny" not in name]
LVR = [name for name in LARGE if name.startswith("lvr")]
LORA = [name for name in LARGE if "vsp" not in name and name not in LVR]
# Examples in the paper's training sets and the optimiser steps that its epochs then take.
STEPS = {
    "livr_qwen3_4b.yaml": (1000, [500, 750]),
    "livr_qwen25vl_3b.yaml": (1000, [500, 750]),
    "sft_qwen3_4b.yaml": (1000, [1250]),
    "sft_qwen25vl_3b.yaml": (1000, [1250]),
    "livr_llava_ov15_4b.yaml": (1000, [500, 750]),
    "sft_llava_ov15_4b.yaml": (1000, [1250]),
    "livr_multitask_qwen3_4b.yaml": (6000, [1500, 2250]),
    "sft_multitask_qwen3_4b.yaml": (6000, [3750]),
    "livr_sat_qwen25vl_3b.yaml": (32_000, [8000, 12_000]),
    "sft_sat_qwen25vl_3b.yaml": (32_000, [20_000]),
    "livr_viscot_qwen25vl_7b.yaml": (438_000, [1000, 1500]),
}
# As many samples as in LVR's supervised stage; the paper does not say.
BATCHES = {"livr_viscot_qwen25vl_7b.yaml": 64}
# Generated scenes: what the recipes ask for by default.
TINY_STEPS = {name: (1000, [160, 240]) for name in SUPERVISED if "tiny" in name}
# Prompts of reinforcement and the optimiser steps on them.
RL_STEPS = {
    "lvr_grpo_3b.yaml": (38_870, 9718),
    "livr_grpo_qwen3_4b.yaml": (1000, 250),
    "lvr_grpo_tiny.yaml": (1000, 60),
    "livr_grpo_tiny.yaml": (1000, 50),
}
# Backbone, and what trains in each stage: 16 rows of 2560 (4B) or 2048 (3B) values more with latents.
SIZES = {
    "livr_qwen3_4b.yaml": ("4,437,815,808", ["33,071,104", "33,071,104"]),
    "livr_qwen25vl_3b.yaml": ("3,754,622,976", ["29,966,336", "29,966,336"]),
    "livr_vsp_qwen25vl_7b.yaml": ("8,292,166,656", ["7,615,630,848", "7,615,630,848"]),
    "livr_sat_qwen25vl_3b.yaml": ("3,754,622,976", ["29,966,336", "29,966,336"]),
    "livr_viscot_qwen25vl_7b.yaml": ("8,292,166,656", ["40,427,520", "40,427,520"]),
    "sft_qwen3_4b.yaml": ("4,437,815,808", ["33,030,144"]),
    "livr_llava_ov15_4b.yaml": ("4,741,610,528", ["33,071,104", "33,071,104"]),
    "sft_llava_ov15_4b.yaml": ("4,741,610,528", ["33,030,144"]),
    # The language model with four rows more, of 2048 (3B), 3584 (7B) or 2560 (4B) values; the heads of the 7B
    # model and of LLaVA-OneVision-1.5 are matrices of their own, with rows for the two written markers.
    "lvr_qwen25vl_3b.yaml": ("3,754,622,976", ["3,085,946,880"]),
    "lvr_qwen25vl_7b.yaml": ("8,292,166,656", ["7,615,638,016"]),
    "lvr_qwen3_4b.yaml": ("4,437,815,808", ["4,022,478,336"]),
    "lvr_llava_ov15_4b.yaml": ("4,741,610,528", ["4,411,439,616"]),
    "lvr_grpo_3b.yaml": ("3,754,622,976", ["3,085,946,880"]),
    "livr_grpo_qwen3_4b.yaml": ("4,437,815,808", ["33,071,104"]),
}


def verb(name: str) -> str:
    """The command that a recipe is for."""
    return "rl" if name in STARTS else "train"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with HF_HUB_OFFLINE=1, whatever was imported before."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_says_what_it_needs(name: str) -> None:
    text = (ROOT / "recipes" / name).read_text(encoding="utf-8")
    header = text[: text.index("\nreasoner:")]
    assert len(text.splitlines()) <= 45
    assert all(line.startswith("#") for line in header.splitlines())
    assert "download" in header.lower()
    assert f"latentvr {verb(name)} recipes/{name}" in header
    assert re.search(r"GPU|CPU", header)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_has_a_folder_of_its_own(name: str) -> None:
    resolved = load(ROOT / "recipes" / name)
    (require_for_rl if name in STARTS else require)(resolved)
    assert resolved.recipe.train.output_dir == f"runs/{name.removesuffix('.yaml')}"


@pytest.mark.parametrize("name", LORA)
def test_large_recipes_are_trained_as_in_the_paper(name: str) -> None:
    # Breaks if a default drifts away from appendix B, or a recipe overrides one.
    recipe = load(ROOT / "recipes" / name).recipe
    optim = recipe.optim
    assert recipe.model.lora == LoraConfig(16, 32, 0.05, recipe.model.lora.modules)
    assert len(recipe.model.lora.modules) == 7
    assert optim == OptimConfig(
        "lora", 1e-4, None, 0.01, 0.9, 0.999, 1e-8, 0.05, "cosine", optim.max_grad_norm
    )
    batch = recipe.train.batch_size * recipe.train.gradient_accumulation
    assert (recipe.train.seed, batch) == (42, BATCHES.get(name, 8))
    several = any(word in name for word in ("multitask", "sat", "viscot"))
    assert recipe.train.keep == ("last" if several else "best")
    assert getattr(recipe.reasoner, "latents", None) == (16 if name.startswith("livr") else None)
    samples, steps = STEPS[name]
    assert [run.steps for run in stage_runs(recipe, samples)] == steps


def row_of(name: str) -> str:
    """The recipe's row in the page's table."""
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    return next(row for row in page.splitlines() if row.startswith(f"| `{name}`"))


@pytest.mark.parametrize(("name", "samples", "steps"), [(k, *v) for k, v in {**STEPS, **TINY_STEPS}.items()])
def test_the_page_tells_the_steps(name: str, samples: int, steps: list[int]) -> None:
    assert [run.steps for run in stage_runs(load(ROOT / "recipes" / name).recipe, samples)] == steps
    assert row_of(name).split(" | ")[3] == " + ".join(map(str, steps))


@pytest.mark.parametrize(("name", "prompts", "steps"), [(k, *v) for k, v in RL_STEPS.items()])
def test_the_page_tells_the_steps_of_reinforcement(name: str, prompts: int, steps: int) -> None:
    recipe = load(ROOT / "recipes" / name).recipe
    found = rounds(recipe, prompts)
    assert (found.completions, found.steps) == (64, steps)
    assert row_of(name).split(" | ")[3] == str(steps)


def test_every_recipe_of_reinforcement_has_a_start() -> None:
    assert sorted(STARTS) == [name for name in RECIPES if "grpo" in name]
    assert sorted(RL_STEPS) == sorted(STARTS)


@pytest.mark.parametrize("name", STARTS)
def test_reinforcement_goes_on_from_what_another_recipe_trains(name: str) -> None:
    """Breaks if a start is renamed, or its options or adapters are not those of what follows."""
    recipe = load(ROOT / "recipes" / name).recipe
    start = load(ROOT / "recipes" / STARTS[name][0]).recipe
    assert recipe.model.path == start.train.output_dir
    assert start.model.path == STARTS[name][1]
    assert recipe.reasoner == start.reasoner
    assert recipe.optim.trainable == start.optim.trainable
    lora, there = recipe.model.lora, start.model.lora
    assert (lora.r, lora.alpha, lora.modules) == (there.r, there.alpha, there.modules)
    assert recipe.data.source == start.data.source
    # The tiny recipes ask for what the start cannot do: more latent steps, or another task.
    new_steps, new_tasks = name == "lvr_grpo_tiny.yaml", name == "livr_grpo_tiny.yaml"
    assert (recipe.decode.latent_steps != start.decode.latent_steps) == new_steps
    assert (recipe.data.tasks != start.data.tasks) == new_tasks


def test_the_second_stage_of_lvr_is_that_of_the_authors() -> None:
    recipe = load(ROOT / "recipes" / "lvr_grpo_3b.yaml").recipe
    assert (recipe.optim.trainable, recipe.optim.learning_rate, recipe.train.batch_size) == (
        "language",
        5e-6,
        8,
    )
    assert recipe.rl == RLConfig(
        epochs=2, num_generations=8, temperature=0.9, top_k=50, beta=0.04, kl="k3", epsilon=0.2,
        loss_type="bnpo", scale_rewards="group", rewards=["accuracy", "format"],
    )  # fmt: skip
    assert (recipe.decode.latent_steps, recipe.decode.max_new_tokens) == (8, 512)
    assert recipe.model.max_pixels == 2560 * 28**2


@pytest.mark.parametrize("name", LVR)
def test_lvr_is_trained_as_in_the_paper(name: str) -> None:
    recipe = load(ROOT / "recipes" / name).recipe
    optim, reasoner = recipe.optim, vars(recipe.reasoner)
    assert (optim.trainable, optim.learning_rate, optim.weight_decay) == ("language", 1e-5, 0.1)
    assert (optim.warmup, optim.schedule, recipe.train.seed) == (0.03, "cosine", 42)
    assert [stage.steps for stage in recipe.stages.values()] == [2500]
    assert recipe.train.batch_size * recipe.train.gradient_accumulation == 64
    assert (reasoner["weight"], reasoner["loss"], reasoner["head"]) == (0.1, "mse", "none")
    side = 32 if "qwen3" in name else 28
    assert (recipe.model.min_pixels, recipe.model.max_pixels) == (128 * side**2, 5120 * side**2)
    assert recipe.decode.max_new_tokens == 512


def test_spatial_planning_is_trained_as_in_the_paper() -> None:
    recipe = load(ROOT / "recipes" / "livr_vsp_qwen25vl_7b.yaml").recipe
    assert (recipe.optim.trainable, recipe.optim.learning_rate) == ("language", 1e-5)
    assert vars(recipe.reasoner)["latents"] == 4
    assert [stage.epochs for stage in recipe.stages.values()] == [10, 10]
    assert recipe.train.batch_size * recipe.train.gradient_accumulation == 8


@pytest.mark.parametrize("name", [name for name in LARGE if name.startswith("livr")])
def test_a_control_differs_in_nothing_but_the_method(name: str) -> None:
    control = ROOT / "recipes" / name.replace("livr", "sft", 1)
    if "vsp" in name or "viscot" in name:
        assert not control.exists()
        return
    ours, theirs = load(ROOT / "recipes" / name).recipe, load(control).recipe
    assert (ours.model, ours.data, ours.optim) == (theirs.model, theirs.data, theirs.optim)
    assert sum(s.epochs for s in ours.stages.values()) == sum(s.epochs for s in theirs.stages.values())
    assert TrainConfig(**{**vars(ours.train), "output_dir": ""}) == TrainConfig(
        **{**vars(theirs.train), "output_dir": ""}
    )


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", RECIPES)
def test_validate_and_dry_run_work_without_hub_and_data(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks if a size needs the weights, the hub or the data.
    monkeypatch.chdir(tmp_path)
    start = [f"model.path={STARTS[name][1]}"] if name in STARTS else []
    for arguments in (["validate"], [verb(name), "--dry-run", *start]):
        call = [arguments[0], str(ROOT / "recipes" / name), *arguments[1:]]
        assert guarded(partial(app, args=call, standalone_mode=False)) == 0, call
    out = capsys.readouterr().out
    assert ": valid; reasoner " in out
    backbone = re.findall(r"^parameters: ([\d,]+) in the backbone$", out, re.M)
    trains = re.findall(r"^(?:stage \w+|policy): ([\d,]+) train \(\w+\), [\d.]+ % of all$", out, re.M)
    assert len(backbone) == 1
    assert len(trains) == (1 if name in STARTS else len(load(ROOT / "recipes" / name).recipe.stages))
    if name in SIZES:
        assert (backbone[0], trains) == SIZES[name]
    if "tiny" not in name:
        assert f" {trains[0]} (" in row_of(name)
    assert list(tmp_path.iterdir()) == []
