"""The range of every number in a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass

ROW = "*"
"""Stands for any stage's name."""


@dataclass(frozen=True)
class Range:
    """An interval; an open end is not part of it."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        """Tell whether `value` lies in the interval; NaN never does."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        """Return the interval in words."""
        if math.isinf(self.low) and math.isinf(self.high):
            return "a finite number"
        low = f"more than {self.low:g}" if self.open_low else f"at least {self.low:g}"
        if math.isinf(self.high):
            return low
        return f"{low} and {'less than' if self.open_high else 'at most'} {self.high:.10g}"


_COUNT = Range(low=1)
_FROM_ZERO = Range(low=0)
_POSITIVE = Range(low=0, open_low=True)
_SHARE = Range(low=0, high=1)
_BELOW_ONE = Range(low=0, high=1, open_high=True)
_ABOVE_ZERO = Range(low=0, high=1, open_low=True)
_FINITE = Range(open_low=True, open_high=True)
_SEED = Range(low=0, high=2**32 - 1)

RANGES: dict[str, Range] = {
    "model.min_pixels": _COUNT,
    "model.max_pixels": _COUNT,
    "model.lora.r": _COUNT,
    "model.lora.alpha": _COUNT,
    "model.lora.dropout": _BELOW_ONE,
    "data.limit": _COUNT,
    "data.max_length": _COUNT,
    "data.workers": _FROM_ZERO,
    "data.pack_length": _COUNT,
    "data.pack_window": _COUNT,
    "data.toy.train": _FROM_ZERO,
    "data.toy.validation": _FROM_ZERO,
    "data.toy.test": _FROM_ZERO,
    "data.toy.size": _COUNT,
    "data.toy.seed": _SEED,
    "stages.*.epochs": _FROM_ZERO,
    "stages.*.steps": _FROM_ZERO,
    "stages.*.learning_rate": _POSITIVE,
    "optim.learning_rate": _POSITIVE,
    "optim.token_learning_rate": _POSITIVE,
    "optim.weight_decay": _FROM_ZERO,
    "optim.beta1": _BELOW_ONE,
    "optim.beta2": _BELOW_ONE,
    "optim.eps": _POSITIVE,
    "optim.warmup": _SHARE,
    "optim.max_grad_norm": _FROM_ZERO,
    "train.seed": _SEED,
    "train.batch_size": _COUNT,
    "train.gradient_accumulation": _COUNT,
    "train.save_steps": _FROM_ZERO,
    "train.save_limit": _COUNT,
    "train.validate_epochs": _FROM_ZERO,
    "rl.epochs": _POSITIVE,
    "rl.steps": _COUNT,
    "rl.num_generations": Range(low=2),
    "rl.steps_per_generation": _COUNT,
    "rl.num_iterations": _COUNT,
    "rl.rollout_batch_size": _COUNT,
    "rl.temperature": _POSITIVE,
    "rl.top_k": _FROM_ZERO,
    "rl.top_p": _ABOVE_ZERO,
    "rl.min_p": _SHARE,
    "rl.beta": _FROM_ZERO,
    "rl.epsilon": _POSITIVE,
    "rl.epsilon_high": _POSITIVE,
    "rl.latent_sigma": _POSITIVE,
    "rl.latent_kappa": _POSITIVE,
    "rl.latent_epsilon": _POSITIVE,
    "rl.rollout_noise_std": _FROM_ZERO,
    "rl.reward_weights": _FINITE,
    "rl.reward_timeout": _POSITIVE,
    "rl.necessity_bonus": _FROM_ZERO,
    "rl.attention_layers": _FROM_ZERO,
    "rl.health_steps": _COUNT,
    "rl.log_completions": _FROM_ZERO,
    "decode.max_new_tokens": _COUNT,
    "decode.latent_steps": _COUNT,
    "decode.end_threshold": _POSITIVE,
    "decode.temperature": _POSITIVE,
    "decode.top_k": _FROM_ZERO,
    "decode.top_p": _ABOVE_ZERO,
    "decode.min_p": _SHARE,
    "decode.repetition_penalty": _POSITIVE,
    "decode.seed": _SEED,
    "eval.batch_size": _COUNT,
    "log.every": _COUNT,
}


def out_of_range(node: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield key and sentence of every number outside its range; a method checks its own numbers.

    Args:
        node: a recipe, or the section called `prefix`.
        prefix: empty for a whole recipe.

    Yields:
        tuple[str, str]: key and sentence.
    """
    for key, value in _numbers(node, prefix):
        parts = key.split(".")
        generic = ".".join([parts[0], ROW, *parts[2:]]) if parts[0] == "stages" else key
        allowed = RANGES.get(generic)
        if allowed is not None and value not in allowed:
            yield key, f"expected {allowed}, got {value}; fix: write a number in this range"


def _numbers(node: object, prefix: str) -> Iterator[tuple[str, float]]:
    if isinstance(node, list):
        for element in node:
            yield from _numbers(element, prefix)
        return
    if isinstance(node, dict):
        children = dict(node)
    elif is_dataclass(node):
        children = {item.name: getattr(node, item.name) for item in fields(node)}
    else:
        if isinstance(node, int | float) and not isinstance(node, bool):
            yield prefix, node
        return
    for name, child in children.items():
        yield from _numbers(child, f"{prefix}.{name}" if prefix else name)
