"""The recipe's section `rl`: group-relative policy optimisation (GRPO, arXiv 2402.03300) with latents.

Defaults are those of the LVR paper's second stage (arXiv 2509.24251) unless a field says "not in the paper".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class RLConfig:
    """Reinforcement by `latentvr rl`: rollouts in groups, rewards, clipped policy updates."""

    epochs: float = 1.0
    """Passes over the prompts; the paper makes 2."""
    steps: int | None = None
    """Optimiser steps; overrules `epochs`."""
    num_generations: int = 8
    """Completions of each prompt (the group G), all on one rank."""
    steps_per_generation: int | None = None
    """Forward passes of `train.batch_size` completions that one round of rollouts, the buffer, fills; null
    means `train.gradient_accumulation`, so that a buffer gives one optimiser step."""
    num_iterations: int = 1
    """Times that each buffer is trained on (mu)."""
    rollout_batch_size: int | None = None
    """Completions generated together; null generates a whole buffer at once."""
    temperature: float = 0.9
    """Logits are divided by it when rollouts are drawn, and in the log-probabilities of policy and reference;
    what is not given here comes from `decode`."""
    top_k: int = 50
    """Draw rollouts from the k likeliest tokens; 0 from all."""
    top_p: float = 1.0
    """Draw rollouts from the likeliest tokens that together have this probability."""
    min_p: float = 0.0
    """Draw rollouts from tokens with at least this share of the likeliest one's probability."""
    beta: float = 0.04
    """Weight of the KL divergence from the weights at the start; 0 needs no reference."""
    kl: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of the KL divergence from one token: the log ratio, half its square, or the one that is never
    negative (GRPO's)."""
    use_bias_correction_kl: bool = False
    """Multiply the KL term by the policy's ratio, as TRL 1.16 does by default. Not in the paper."""
    epsilon: float = 0.2
    """Ratios are clipped below 1 minus this."""
    epsilon_high: float | None = None
    """Ratios are clipped above 1 plus this; null means `epsilon`."""
    loss_type: Literal["grpo", "bnpo", "dapo", "dr_grpo"] = "bnpo"
    """How the loss is averaged over tokens: in each completion first (`grpo`), over a forward pass (`bnpo`),
    over all tokens of a round of rollouts (`dapo`), or by the longest possible completion (`dr_grpo`)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by: the standard deviation of rewards in the group, in the round of
    rollouts, or nothing."""
    mask_truncated: bool = False
    """Completions that were cut at `decode.max_new_tokens` give no loss. Not in the paper."""
    latent_ratio: Literal["none", "gaussian", "vmf", "learned"] = "none"
    """Likelihood that makes latents actions beside the tokens: none, a Gaussian of fixed width (arXiv
    2511.21395), von Mises-Fisher on directions (arXiv 2604.20328), or the method's own learned noise (arXiv
    2608.19669)."""
    latent_sigma: float = 10.0
    """Standard deviation for `latent_ratio: gaussian`."""
    latent_kappa: float = 100.0
    """Concentration for `latent_ratio: vmf`. The value is not from a paper."""
    latent_epsilon: float | None = None
    """Clip range of the ratios of latents, on both sides; null means `epsilon` and `epsilon_high`."""
    rollout_noise_std: float = 0.0
    """Standard deviation of the noise added to the latents that rollouts feed back, so that a group explores.
    Not in the paper."""
    replay: Literal["recorded", "regenerated"] = "recorded"
    """What log-probabilities see at latents: those that the rollout fed, or, without gradient, those that the
    current weights would feed."""
    reference_latents: Literal["shared", "own"] = "shared"
    """What the reference sees at latents: those of the rollout, or its own."""
    share_prompts: bool = True
    """Put the completions of a prompt that are in one forward pass behind a single copy of it: less work the
    longer the prompt is. Not with latents that are regenerated."""
    rewards: list[str] = field(default_factory=lambda: ["accuracy", "format"])
    """Names of reward functions: the library's, those of installed packages (entry-point group
    `latentvr.rewards`) and those of `reward_file`."""
    reward_weights: list[float] = field(default_factory=list)
    """Weight of each reward in their sum; empty weighs each 1."""
    reward_file: str | None = None
    """Python file with reward functions `fn(prompts, completions, **columns)`, as TRL takes them."""
    trust_reward_file: bool = False
    """Run the code of `reward_file`. Off unless you have read that code."""
    reward_timeout: float = 30.0
    """Seconds that one call of a reward function of a package or of `reward_file` may take."""
    necessity_bonus: float = 0.5
    """For reward `necessity`: given where an answer is right with the latents and wrong without; half of it
    is taken where it is right without. Not in the paper."""
    attention_layers: list[int] = field(default_factory=list)
    """Layers that reward `attention` looks at, counted from 0; empty takes all. Not in the paper."""
    health_steps: int = 20
    """Optimiser steps that a red flag of the run has to hold before the log says what to try."""
    log_completions: int = 4
    """Completions written to `completions.jsonl` at each logged step, one of each prompt first; 0 writes
    none."""
