"""Suggestions name real keys and find the one that was meant."""

from __future__ import annotations

import pytest

from latentvr.config.fields import leaves, tree
from latentvr.config.suggest import ELSEWHERE, close, sentence, suggest
from latentvr.reasoners import registry

KEYS = [leaf.key for leaf in leaves(tree(registry.config_class("livr")))]


def test_every_foreign_name_leads_to_a_real_key_and_is_none_itself() -> None:
    leaf_names = {key.rpartition(".")[2] for key in KEYS}
    assert set(ELSEWHERE.values()) <= set(KEYS)
    assert not leaf_names & set(ELSEWHERE)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optim.learning_rat", ["optim.learning_rate"]),
        ("model.lora.rank", ["model.lora.r"]),
        ("lora_rank", ["model.lora.r"]),
        ("train.lr_scheduler_type", ["optim.schedule"]),
        ("Per-Device-Train-Batch-Size", ["train.batch_size"]),
        ("train.num_epochs", ["stages.<name>.epochs"]),
        ("batch_size", ["train.batch_size", "eval.batch_size"]),
        ("model.num_latents", ["reasoner.latents"]),
        ("torch_dtyp", ["model.dtype"]),
        ("train.packing", ["data.packing"]),
        ("neat_packing", ["data.packing"]),
        ("packing_strategy", ["data.packing"]),
        ("deepspeed", ["train.deepspeed"]),
        ("zero_stage", ["train.deepspeed"]),
        ("num_generations", ["rl.num_generations"]),
        ("grpo.epsilon_high", ["rl.epsilon_high"]),
        ("rl.max_completion_length", ["decode.max_new_tokens"]),
        ("train.reward_funcs", ["rl.rewards"]),
        ("rl.cliprange", ["rl.epsilon"]),
        ("rl.kl_coef", ["rl.beta"]),
        ("rl.num_train_epochs", ["rl.epochs"]),
        ("rl.max_steps", ["rl.steps"]),
        ("rl.per_device_train_batch_size", ["train.batch_size"]),
        ("rl.learning_rate", ["optim.learning_rate", "stages.<name>.learning_rate"]),
        ("qqqqqqq", []),
    ],
)
def test_the_key_that_was_meant(key: str, meant: list[str]) -> None:
    assert suggest(key, KEYS) == meant


def test_a_method_without_latents_is_not_offered_any() -> None:
    plain = [leaf.key for leaf in leaves(tree(registry.config_class("direct")))]
    assert suggest("num_latents", plain) == []


def test_sentences() -> None:
    assert sentence([]) == ""
    assert sentence(["a", "b"]) == "; did you mean a or b?"
    assert close("bottelneck", ["causal", "bottleneck"]) == ["bottleneck"]
