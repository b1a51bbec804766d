"""Each rule of reinforcement refuses what it is about, names the key, and lets good recipes pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentvr.config import rl_rules
from latentvr.config.load import load
from latentvr.config.rules import require, require_all, require_for_rl, sets_rl
from latentvr.errors import RecipeError

BASE = ["data.source=toy", "train.output_dir=no/such/folder", "model.lora.dropout=0"]
LIVR, LVR = ["reasoner.name=livr"], ["reasoner.name=lvr"]
NOISY = [*LVR, "reasoner.noise=0.05"]
OWN = "rl.reference_latents=own"
AGAIN = "rl.replay=regenerated"
PROMPT_LATENTS = "with reasoner 'livr', whose answers open no latent spans, got"
NO_LATENTS = "expected rewards that need no latents with reasoner"


def refused(overrides: list[str]) -> list[str]:
    """`key: sentence` of every problem."""
    try:
        require_for_rl(load(None, [*BASE, *overrides]))
    except RecipeError as error:
        return [
            line.removeprefix("command line ").removeprefix("default ") for line in str(error).splitlines()
        ]
    return []


@pytest.mark.parametrize("setting", ["data.pack_length=9", "data.pack_window=9", "data.feature_cache_dir=d"])
def test_settings_of_what_is_off_are_refused(setting: str) -> None:
    (text,) = refused([setting])
    assert text.startswith(setting.partition("=")[0] + ": expected data.")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        LIVR,
        LVR,
        ["train.batch_size=4", "train.gradient_accumulation=2"],
        ["train.batch_size=2", "train.gradient_accumulation=2", "rl.steps_per_generation=4"],
        ["rl.rollout_batch_size=16"],
        ["optim.trainable=language", "model.lora.dropout=0.05", "model.lora.modules=[]"],
        ["optim.trainable=language", "data.feature_cache=memory"],
        ["rl.reward_weights=[1, 0]"],
        ["rl.reward_file=r.py", "rl.trust_reward_file=true", "rl.rewards=[mine, accuracy]"],
        [*LIVR, "rl.rewards=[accuracy, attention, necessity, roi_reconstruction]"],
        [*LIVR, "reasoner.latents=0", "reasoner.image_twice=true", "rl.rewards=[attention]"],
        [*LVR, "rl.rewards=[accuracy, attention, necessity, roi_reconstruction]"],
        [*LVR, "rl.latent_ratio=gaussian", "rl.latent_epsilon=0.1", "rl.rollout_noise_std=0.1"],
        [*LVR, AGAIN, OWN],
        [*NOISY, "rl.latent_ratio=learned"],
        NOISY,
        ["stages={broken: {epochs: 0, visibility: nonsense, trainable: all}}", "decode.do_sample=true"],
    ],
)
def test_good_recipes_pass(overrides: list[str]) -> None:
    assert refused(overrides) == []


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["rl.num_generations=1"], "rl.num_generations: expected at least 2, got 1; "),
        (["rl.epochs=0"], "rl.epochs: expected more than 0, got 0.0; "),
        (["rl.attention_layers=[-1]"], "rl.attention_layers: expected at least 0, got -1; "),
        (["train.batch_size=0"], "train.batch_size: expected at least 1, got 0; "),
        (["model.pack=true"], "model.pack: expected false in training, got true; "),
        (["decode.suppress=false"], "decode.suppress: expected true in reinforcement, "),
        (["data.workers=2"], "data.workers: expected 0 in reinforcement, "),
        ([*NOISY, "rl.rollout_noise_std=0.1"], "rl.rollout_noise_std: expected 0 with a method that learns "),
        (["decode.visibility=blind"], "decode.visibility: expected a visibility of causal"),
        ([*LVR, "decode.latent_steps=40"], "decode.latent_steps: expected fewer latent steps than"),
        ([*LVR, "reasoner.noise=0"], "reasoner.noise: expected more than 0, got 0.0; "),
        (["data.source=records", "train.keep=last"], "data.train: expected a records file, got null; "),
        (["model.lora.modules=[]"], "model.lora.modules: expected at least one layer name, got []; "),
        (
            ["rl.steps_per_generation=12"],
            "rl.steps_per_generation: expected a multiple of train.gradient_accumulation (8), got 12; "
            "fix: set rl.steps_per_generation=8, or leave it out",
        ),
        (
            ["train.batch_size=6", "train.gradient_accumulation=2"],
            "rl.num_generations: expected whole groups in a buffer of 12 completions (train.batch_size=6 "
            "times 2 forward passes), got groups of 8; "
            "fix: set rl.steps_per_generation=4, or change rl.num_generations",
        ),
        (
            ["rl.rollout_batch_size=12"],
            "rl.rollout_batch_size: expected a multiple of rl.num_generations (8), got 12; "
            "fix: set rl.rollout_batch_size=16",
        ),
        (
            ["decode.repetition_penalty=1.1"],
            "decode.repetition_penalty: expected 1 in reinforcement, where a replay has to give the "
            "probabilities that were drawn from, got 1.1; fix: leave the key out",
        ),
        (
            ["model.lora.dropout=0.05"],
            "model.lora.dropout: expected 0 in reinforcement, where a replay has to give the "
            "log-probabilities of its rollout, got 0.05; fix: set model.lora.dropout=0",
        ),
        (
            ["optim.trainable=all", "data.feature_cache=memory"],
            "data.feature_cache: expected off with optim.trainable=all, which trains the vision tower, got "
            "memory; fix: set data.feature_cache=off, or optim.trainable=language",
        ),
        (["rl.rewards=[]"], "rl.rewards: expected at least one reward, got []; fix: leave the key out"),
        (
            ["rl.rewards=[accuracy, format, accuracy]"],
            "rl.rewards: expected each name once, got 'accuracy' again; fix: remove one",
        ),
        (["rl.rewards=[acuracy]"], "got 'acuracy'; did you mean accuracy?"),
        (
            ["rl.rewards=[mine]"],
            "got 'mine'; fix: use one of these, or give its file as rl.reward_file",
        ),
        (["rl.rewards=[attention]"], f"rl.rewards: {NO_LATENTS} 'direct' as it is set, got 'attention'; "),
        (
            [*LIVR, "reasoner.latents=0", "rl.rewards=[accuracy, necessity]"],
            f"rl.rewards: {NO_LATENTS} 'livr' as it is set, got 'necessity'; fix: leave it out",
        ),
        (
            ["rl.rewards=[accuracy, roi_reconstruction]"],
            f"rl.rewards: {NO_LATENTS} 'direct' as it is set, got 'roi_reconstruction'; ",
        ),
        (
            ["rl.reward_weights=[1]"],
            "rl.reward_weights: expected a weight for each of accuracy, format, got 1 for 2; "
            "fix: write one number for each of rl.rewards, in its order, or leave the key out",
        ),
        (["rl.reward_weights=[0, 0]"], "rl.reward_weights: expected a weight other than 0, got [0.0, 0.0]; "),
        (
            ["rl.reward_file=r.py"],
            "rl.reward_file: expected rl.trust_reward_file=true with a file whose code is to run, got false "
            "with r.py; fix: read the file, then set rl.trust_reward_file=true",
        ),
        (
            ["rl.trust_reward_file=true"],
            "rl.trust_reward_file: expected a file in rl.reward_file with it, got null; ",
        ),
        (
            [*LIVR, "rl.latent_ratio=gaussian"],
            f"rl.latent_ratio: expected none {PROMPT_LATENTS} gaussian; fix: leave the key out",
        ),
        (
            [*LIVR, "rl.rollout_noise_std=0.1"],
            f"rl.rollout_noise_std: expected 0.0 {PROMPT_LATENTS} 0.1; fix: leave the key out",
        ),
        ([*LIVR, AGAIN], f"rl.replay: expected recorded {PROMPT_LATENTS} regenerated; "),
        ([*LIVR, OWN], f"rl.reference_latents: expected shared {PROMPT_LATENTS} own; "),
        (
            [*LVR, "rl.latent_ratio=learned"],
            "rl.latent_ratio: expected none, gaussian or vmf with reasoner 'lvr' as it is set, which learns "
            "no noise, got learned; fix: turn its noise on, or choose another ratio",
        ),
        (
            ["rl.latent_epsilon=0.1"],
            "rl.latent_epsilon: expected a likelihood of latents in rl.latent_ratio with it, got 0.1 with "
            "none; fix: set rl.latent_ratio, or leave the key out",
        ),
        (
            [*LVR, AGAIN, "rl.latent_ratio=vmf"],
            "rl.replay: expected recorded with rl.latent_ratio=vmf, which needs the latents that were drawn, "
            "got regenerated; fix: set rl.replay=recorded",
        ),
        (
            [*LVR, AGAIN, "rl.rollout_noise_std=1"],
            "rl.replay: expected recorded with rl.rollout_noise_std=1.0, ",
        ),
        ([*NOISY, AGAIN], "rl.replay: expected recorded with learned noise, which needs"),
        (["data.packing=true"], "data.packing: expected false in reinforcement, which trains on "),
        (
            [*LVR, OWN, "rl.beta=0"],
            "rl.reference_latents: expected shared with rl.beta=0, which has no reference, got own; ",
        ),
        (
            [*LVR, OWN, "rl.latent_ratio=vmf"],
            "rl.reference_latents: expected shared with rl.latent_ratio=vmf, which compares densities of the "
            "same latents, got own; fix: set rl.reference_latents=shared",
        ),
    ],
)
def test_a_broken_rule_names_its_key(overrides: list[str], sentence: str) -> None:
    (found,) = refused(overrides)
    assert sentence in found
    assert found.startswith(sentence.split(": ")[0]) or found.startswith("rl.rewards: expected rewards of ")


def test_rewards_that_look_at_latents_are_built_in() -> None:
    """A name that no reward has any more would guard nothing."""
    from latentvr.rl.rewards import registry

    assert set(rl_rules.OF_LATENTS) < set(registry.names())


def test_supervised_training_does_not_look_at_the_section() -> None:
    require(load(None, ["data.source=toy", "train.output_dir=no/such", "rl.rewards=[]", OWN]))


def test_the_section_is_checked_with_the_rest_where_a_recipe_has_it(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("data: {source: toy}\ntrain: {output_dir: no/such}\n")
    require_all(load(path))  # dropout of adapters is no mistake in supervised training
    path.write_text(
        "data: {source: toy}\ntrain: {output_dir: no/such}\nrl: {beta: 0}\nstages:\n  a: {epochs: 0}\n"
    )
    with pytest.raises(RecipeError) as error:
        require_all(load(path))
    assert [line.split(": ")[0] for line in str(error.value).splitlines()] == [
        "default model.lora.dropout",
        "default stages",
    ]


def test_settings_that_a_supervised_run_wrote_do_not_ask_for_reinforcement(tmp_path: Path) -> None:
    path = tmp_path / "resolved.yaml"
    path.write_text(load(None, ["data.source=toy"]).to_yaml())
    assert not sets_rl(load(path))
    assert sets_rl(load(path, ["rl.beta=0"]))
    assert sets_rl(load(None, ["rl.beta=0.04"]))
    assert not sets_rl(load(None))
