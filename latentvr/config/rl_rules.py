"""What a recipe can get wrong for reinforcement: sizes that do not fit, and settings that contradict."""

from __future__ import annotations

import math
from collections.abc import Iterator

from latentvr.config.schema import Recipe
from latentvr.config.stage_rules import no_adapters
from latentvr.config.suggest import close, sentence

OF_LATENTS = ("attention", "necessity", "roi_reconstruction")
"""Rewards that look at a completion's latents."""

Found = Iterator[tuple[str, str]]


def rl_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Find what no reinforcement run can use, in `rl` and in the sections that it works with.

    Args:
        recipe: all settings; numbers out of range are left to the rule about them.

    Yields:
        tuple[str, str]: key and sentence.
    """
    yield from _what_trains(recipe)
    yield from _sizes(recipe)
    yield from _decode(recipe)
    yield from _reward_names(recipe)
    yield from _reward_weights(recipe)
    yield from _reward_file(recipe)
    yield from _needs_spans(recipe)
    yield from _likelihood(recipe)
    yield from _replay(recipe)
    yield from _reference(recipe)


def buffer_passes(recipe: Recipe) -> int:
    """Forward passes that one round of rollouts fills."""
    return recipe.rl.steps_per_generation or recipe.train.gradient_accumulation


def _what_trains(recipe: Recipe) -> Found:
    kind, dropout = recipe.optim.trainable, recipe.model.lora.dropout
    if kind == "lora":
        yield from no_adapters(recipe)
    if kind == "lora" and dropout != 0:
        yield (
            "model.lora.dropout",
            "expected 0 in reinforcement, where a replay has to give the log-probabilities of its rollout, "
            f"got {dropout}; fix: set model.lora.dropout=0",
        )
    if kind == "all" and recipe.data.feature_cache != "off":
        yield (
            "data.feature_cache",
            f"expected off with optim.trainable=all, which trains the vision tower, got "
            f"{recipe.data.feature_cache}; fix: set data.feature_cache=off, or optim.trainable=language",
        )


def _sizes(recipe: Recipe) -> Found:
    rl, size, group = recipe.rl, recipe.train.batch_size, recipe.rl.num_generations
    passes, accumulation = buffer_passes(recipe), recipe.train.gradient_accumulation
    if min(size, group, passes, accumulation) < 1:
        return
    fitting = math.lcm(accumulation, group // math.gcd(group, size))
    if passes % accumulation:
        yield (
            "rl.steps_per_generation",
            f"expected a multiple of train.gradient_accumulation ({accumulation}), got {passes}; "
            f"fix: set rl.steps_per_generation={fitting}, or leave it out",
        )
    elif size * passes % group:
        yield (
            "rl.num_generations",
            f"expected whole groups in a buffer of {size * passes} completions (train.batch_size={size} "
            f"times {passes} forward passes), got groups of {group}; "
            f"fix: set rl.steps_per_generation={fitting}, or change rl.num_generations",
        )
    if rl.rollout_batch_size is not None and rl.rollout_batch_size % group:
        yield (
            "rl.rollout_batch_size",
            f"expected a multiple of rl.num_generations ({group}), got {rl.rollout_batch_size}; "
            f"fix: set rl.rollout_batch_size={math.ceil(rl.rollout_batch_size / group) * group}",
        )


def _decode(recipe: Recipe) -> Found:
    penalty = recipe.decode.repetition_penalty
    if not recipe.decode.suppress:
        yield (
            "decode.suppress",
            "expected true in reinforcement, where image and slot tokens in answers could not be replayed, "
            "got false; fix: leave the key out",
        )
    if recipe.data.workers:
        yield (
            "data.workers",
            f"expected 0 in reinforcement, which encodes its prompts itself, got {recipe.data.workers}; "
            "fix: leave the key out",
        )
    if recipe.data.packing:
        yield (
            "data.packing",
            "expected false in reinforcement, which trains on the rollouts that it makes, got true; "
            "fix: leave the key out",
        )
    if penalty != 1:
        yield (
            "decode.repetition_penalty",
            "expected 1 in reinforcement, where a replay has to give the probabilities that were drawn from, "
            f"got {penalty}; fix: leave the key out",
        )


def _reward_names(recipe: Recipe) -> Found:
    names = recipe.rl.rewards
    if not names:
        yield "rl.rewards", "expected at least one reward, got []; fix: leave the key out"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "rl.rewards", f"expected each name once, got {name!r} again; fix: remove one"
    if not recipe.reasoner.has_latents:
        for name in (name for name in OF_LATENTS if name in names):
            yield (
                "rl.rewards",
                f"expected rewards that need no latents with reasoner {recipe.reasoner.name!r} as it is set, "
                f"got {name!r}; fix: leave it out",
            )
    if recipe.rl.reward_file is None:  # with one, a name may be a function of it
        yield from _unknown_names(recipe)


def _unknown_names(recipe: Recipe) -> Found:
    from latentvr.rl.rewards.registry import names

    known = list(names())
    for name in dict.fromkeys(recipe.rl.rewards):
        if name not in known:
            hint = (
                sentence(close(name, known)) or "; fix: use one of these, or give its file as rl.reward_file"
            )
            yield "rl.rewards", f"expected rewards of {', '.join(known)}, got {name!r}{hint}"


def _reward_weights(recipe: Recipe) -> Found:
    weights, names = recipe.rl.reward_weights, recipe.rl.rewards
    if weights and len(weights) != len(names):
        yield (
            "rl.reward_weights",
            f"expected a weight for each of {', '.join(names)}, got {len(weights)} for {len(names)}; "
            "fix: write one number for each of rl.rewards, in its order, or leave the key out",
        )
    elif weights and not any(weights):
        yield (
            "rl.reward_weights",
            f"expected a weight other than 0, got {weights}; fix: raise one, or leave the key out",
        )


def _reward_file(recipe: Recipe) -> Found:
    file, trusted = recipe.rl.reward_file, recipe.rl.trust_reward_file
    if file is not None and not trusted:
        yield (
            "rl.reward_file",
            f"expected rl.trust_reward_file=true with a file whose code is to run, got false with {file}; "
            "fix: read the file, then set rl.trust_reward_file=true",
        )
    if trusted and file is None:
        yield (
            "rl.trust_reward_file",
            "expected a file in rl.reward_file with it, got null; fix: name the file, or leave the key out",
        )


def _needs_spans(recipe: Recipe) -> Found:
    """Settings of latents that are fed back; where answers open no spans, they would change nothing."""
    if recipe.reasoner.opens_spans:
        return
    rl = recipe.rl
    given = {
        "rl.latent_ratio": (rl.latent_ratio, "none"),
        "rl.rollout_noise_std": (rl.rollout_noise_std, 0.0),
        "rl.replay": (rl.replay, "recorded"),
        "rl.reference_latents": (rl.reference_latents, "shared"),
    }
    for key, (value, allowed) in given.items():
        if value != allowed:
            yield (
                key,
                f"expected {allowed} with reasoner {recipe.reasoner.name!r}, whose answers open no latent "
                f"spans, got {value}; fix: leave the key out",
            )


def _likelihood(recipe: Recipe) -> Found:
    rl = recipe.rl
    if rl.rollout_noise_std > 0 and recipe.reasoner.learns_noise:
        yield (
            "rl.rollout_noise_std",
            f"expected 0 with a method that learns the noise of its latents, got {rl.rollout_noise_std}; "
            "fix: leave the key out, or turn the learned noise off",
        )
    if rl.latent_ratio == "learned" and recipe.reasoner.opens_spans and not recipe.reasoner.learns_noise:
        yield (
            "rl.latent_ratio",
            f"expected none, gaussian or vmf with reasoner {recipe.reasoner.name!r} as it is set, which "
            "learns no noise, got learned; fix: turn its noise on, or choose another ratio",
        )
    if rl.latent_ratio == "none" and rl.latent_epsilon is not None:
        yield (
            "rl.latent_epsilon",
            f"expected a likelihood of latents in rl.latent_ratio with it, got {rl.latent_epsilon} with "
            "none; fix: set rl.latent_ratio, or leave the key out",
        )


def _replay(recipe: Recipe) -> Found:
    """Latents that were drawn, or whose likelihood counts, are those of the rollout or none."""
    rl = recipe.rl
    against = {
        f"rl.latent_ratio={rl.latent_ratio}": rl.latent_ratio != "none",
        f"rl.rollout_noise_std={rl.rollout_noise_std}": rl.rollout_noise_std > 0,
        "learned noise": recipe.reasoner.learns_noise,
    }
    if rl.replay == "regenerated":
        for what in (what for what, holds in against.items() if holds):
            yield (
                "rl.replay",
                f"expected recorded with {what}, which needs the latents that were drawn, got regenerated; "
                "fix: set rl.replay=recorded",
            )


def _reference(recipe: Recipe) -> Found:
    rl = recipe.rl
    if rl.reference_latents != "own":
        return
    if rl.beta == 0:
        yield (
            "rl.reference_latents",
            "expected shared with rl.beta=0, which has no reference, got own; fix: leave the key out",
        )
    if rl.latent_ratio != "none":
        yield (
            "rl.reference_latents",
            f"expected shared with rl.latent_ratio={rl.latent_ratio}, which compares densities of the same "
            "latents, got own; fix: set rl.reference_latents=shared",
        )
