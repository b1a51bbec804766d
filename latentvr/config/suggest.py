"""Did you mean: close spellings, and the names that other trainers give to the same setting."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_STAGE = "stages.<name>"

ELSEWHERE: dict[str, str] = {
    "adam_beta1": "optim.beta1",
    "adam_beta2": "optim.beta2",
    "adam_epsilon": "optim.eps",
    "attn_implementation": "model.attention",
    "base_model": "model.path",
    "bf16": "model.dtype",
    "clip_eps": "rl.epsilon",
    "clip_grad_norm": "optim.max_grad_norm",
    "clip_range": "rl.epsilon",
    "clip_ratio": "rl.epsilon",
    "clip_ratio_high": "rl.epsilon_high",
    "clip_ratio_low": "rl.epsilon",
    "cliprange": "rl.epsilon",
    "custom_reward_function": "rl.reward_file",
    "cutoff_len": "data.max_length",
    "dataloader_num_workers": "data.workers",
    "dataset": "data.train",
    "dataset_name": "data.train",
    "deepspeed_config": "train.deepspeed",
    "disable_dropout": "model.lora.dropout",
    "early_stopping_patience": "train.keep",
    "eval_batch_size": "eval.batch_size",
    "eval_dataset": "data.validation",
    "eval_steps": "train.validate_epochs",
    "finetuning_type": "optim.trainable",
    "flash_attn": "model.attention",
    "fp16": "model.dtype",
    "full_determinism": "train.deterministic",
    "generation_batch_size": "rl.steps_per_generation",
    "grad_clip": "optim.max_grad_norm",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "gradient_checkpointing_enable": "model.gradient_checkpointing",
    "group_size": "rl.num_generations",
    "image_folder": "data.image_root",
    "image_max_pixels": "model.max_pixels",
    "image_min_pixels": "model.min_pixels",
    "init_kl_coef": "rl.beta",
    "kl_beta": "rl.beta",
    "kl_coef": "rl.beta",
    "kl_estimator": "rl.kl",
    "kl_loss_coef": "rl.beta",
    "kl_loss_type": "rl.kl",
    "latent_size": "reasoner.latents",
    "load_best_model_at_end": "train.keep",
    "logging_steps": "log.every",
    "lora_alpha": "model.lora.alpha",
    "lora_dropout": "model.lora.dropout",
    "lora_r": "model.lora.r",
    "lora_rank": "model.lora.r",
    "lora_target": "model.lora.modules",
    "lora_target_modules": "model.lora.modules",
    "loss_agg_mode": "rl.loss_type",
    "lr": "optim.learning_rate",
    "lr_scheduler_type": "optim.schedule",
    "mask_truncated_completions": "rl.mask_truncated",
    "max_completion_length": "decode.max_new_tokens",
    "max_packed_length": "data.pack_length",
    "max_prompt_length": "data.max_length",
    "max_response_length": "decode.max_new_tokens",
    "max_samples": "data.limit",
    "max_seq_length": "data.max_length",
    "max_steps": f"{_STAGE}.steps",
    "media_dir": "data.image_root",
    "micro_batch_size": "train.batch_size",
    "model_max_length": "data.max_length",
    "model_name_or_path": "model.path",
    "model_revision": "model.revision",
    "norm_adv_by_std_in_grpo": "rl.scale_rewards",
    "neat_packing": "data.packing",
    "num_completions_to_print": "rl.log_completions",
    "num_epochs": f"{_STAGE}.epochs",
    "num_latents": "reasoner.latents",
    "num_ppo_epochs": "rl.num_iterations",
    "num_return_sequences": "rl.num_generations",
    "num_train_epochs": f"{_STAGE}.epochs",
    "pack_sequences": "data.packing",
    "packing_length": "data.pack_length",
    "packing_strategy": "data.packing",
    "per_device_eval_batch_size": "eval.batch_size",
    "per_device_train_batch_size": "train.batch_size",
    "ppo_epochs": "rl.num_iterations",
    "preprocessing_num_workers": "data.workers",
    "report_to": "log.trackers",
    "reward_fn": "rl.rewards",
    "reward_funcs": "rl.rewards",
    "reward_functions": "rl.rewards",
    "sample_packing": "data.packing",
    "save_total_limit": "train.save_limit",
    "target_modules": "model.lora.modules",
    "torch_dtype": "model.dtype",
    "train_batch_size": "train.batch_size",
    "train_file": "data.train",
    "use_gradient_checkpointing": "model.gradient_checkpointing",
    "validation_file": "data.validation",
    "warmup_ratio": "optim.warmup",
    "warmup_steps": "optim.warmup",
    "zero_stage": "train.deepspeed",
}
"""Names of transformers' TrainingArguments, TRL, PEFT and LLaMA-Factory, with the key of a recipe."""


def suggest(key: str, keys: Sequence[str]) -> list[str]:
    """Return up to three full keys that the unknown `key` may have meant, best first.

    Args:
        key: full key as given, right or wrong in any part.
        keys: full keys of the schema, rows of tables under `<name>`.

    Returns:
        Full keys of the schema; empty where nothing is close.
    """
    sibling = _close(key, [known for known in keys if _parent(known) == _parent(key)], cutoff=0.75)
    if sibling:
        return sibling[:1]
    leaf = _leaf(key).lower().replace("-", "_")
    meant = ELSEWHERE.get(leaf, "")
    own = f"{_parent(key)}.{_leaf(meant)}"
    if meant.startswith(_STAGE) and own in keys:  # epochs and steps are settings of `rl` too
        return [own]
    if meant in keys:
        return [meant]
    almost = _close(key, keys, cutoff=0.9)[:1]
    same = sorted((known for known in keys if _leaf(known) == leaf), key=lambda known: known.count("."))
    return almost or same[:3] or _close(key, keys, cutoff=0.8)[:1] or _by_leaf(leaf, keys)


def sentence(candidates: Iterable[str]) -> str:
    """Return `; did you mean a or b?`, or nothing where there are no candidates."""
    listed = " or ".join(candidates)
    return f"; did you mean {listed}?" if listed else ""


def close(word: str, words: Sequence[str]) -> list[str]:
    """Return the word most like `word`, as a list of one or none."""
    return _close(word, words, cutoff=0.6)[:1]


def _by_leaf(leaf: str, keys: Sequence[str]) -> list[str]:
    names = sorted({_leaf(known) for known in keys} | set(ELSEWHERE))
    for name in _close(leaf, names, cutoff=0.8):
        found = [known for known in keys if _leaf(known) == name]
        if not found and ELSEWHERE.get(name) in keys:
            found = [ELSEWHERE[name]]
        if found:
            return found[:3]
    return []


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _parent(key: str) -> str:
    return key.rpartition(".")[0]


def _close(word: str, words: Sequence[str], cutoff: float) -> list[str]:
    return difflib.get_close_matches(word, words, n=3, cutoff=cutoff)
