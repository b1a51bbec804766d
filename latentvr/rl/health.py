"""Red flags of a run of reinforcement, and the watchman that says once what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any, Literal

Sense = Literal["at least", "above", "below", "at most"]
#: Logged values whose mean is a figure's own start, for flags that compare with it.
START_ROWS = 5


@dataclass(frozen=True)
class Flag:
    """A sign that a run goes wrong.

    Attributes:
        name: one word for it.
        figure: the key of `metrics.jsonl` that shows it.
        sense: how the figure has to stand to the limit.
        limit: in the figure's unit; with `against_start`, a multiple of what the figure was in the beginning.
        hint: what it means and what to change.
        against_start: whether the figure is taken as a multiple of the mean of its first `START_ROWS` values.
    """

    name: str
    figure: str
    sense: Sense
    limit: float
    hint: str
    against_start: bool = False

    def test(self, value: float) -> bool:
        """Whether a value of the figure, or a multiple of its start, raises the flag."""
        if self.sense == "at least":
            return value >= self.limit
        if self.sense == "above":
            return value > self.limit
        return value < self.limit if self.sense == "below" else value <= self.limit

    @property
    def condition(self) -> str:
        """The figure's condition in words."""
        of_start = " times its start" if self.against_start else ""
        return f"{self.sense} {self.limit:g}{of_start}"


FLAGS: tuple[Flag, ...] = (
    Flag("no-spread", "reward_std", "at most", 0.0,
         "no completion was better than another of its prompt, so nothing is learnt; see in "
         "completions.jsonl whether the rewards can be earned at all, and start from a model that "
         "earns them now and then"),
    Flag("equal-rewards", "frac_reward_zero_std", "at least", 0.8,
         "in most groups all completions earn the same, and those give no gradient; raise rl.temperature or "
         "rl.num_generations, or give prompts that are neither too easy nor too hard"),
    Flag("cut-short", "completions/clipped_ratio", "at least", 0.3,
         "many completions are cut at the length limit before they answer; raise decode.max_new_tokens, or "
         "start from a model that ends its turn"),
    Flag("never-latent", "share_never_latent", "at least", 0.5,
         "the policy leaves its latent spans out; fine-tune longer before reinforcement, or add a reward "
         "that needs latents, such as `format` or `necessity`, to rl.rewards"),
    Flag("unclosed", "share_unclosed", "at least", 0.2,
         "latent spans are opened and not closed; set decode.force_end to true, raise decode.max_new_tokens, "
         "or add `format` to rl.rewards"),
    Flag("collapse", "entropy", "below", 0.02,
         "the policy has become all but deterministic and explores nothing; raise rl.temperature or rl.beta, "
         "or lower optim.learning_rate"),
    Flag("far-from-start", "kl", "above", 1.0,
         "the policy is more than a nat per token away from the weights at the start, where text often "
         "degenerates; raise rl.beta, or lower optim.learning_rate"),
    Flag("clipped", "clip_ratio/region_mean", "above", 0.3,
         "updates are so large that the clip stops much of the gradient; lower optim.learning_rate, "
         "rl.num_iterations or rl.steps_per_generation"),
    Flag("latents-clipped", "latent_clip_ratio", "above", 0.5,
         "most latents are outside their clip range and no longer learn; lower optim.learning_rate, raise "
         "rl.latent_epsilon, or make the likelihood wider with rl.latent_sigma or a smaller rl.latent_kappa"),
    Flag("replay-gap", "replay_gap", "above", 1e-2,
         "the log-probabilities of training are not those of sampling, so that ratios are wrong from the "
         "start; set model.attention to mask and model.dtype to float32 to find out which of both makes it"),
    Flag("stale-latents", "latent_drift", "above", 0.5,
         "the recorded latents are far from those of the present weights; lower rl.num_iterations, "
         "rl.steps_per_generation or optim.learning_rate"),
    Flag("latents-grow", "latent_norm", "above", 4.0,
         "the latents have left the range of values that the model reads; lower optim.learning_rate or raise "
         "rl.beta", against_start=True),
    Flag("latents-shrink", "latent_norm", "below", 0.25,
         "the latents vanish and can hardly carry anything; lower optim.learning_rate or raise rl.beta",
         against_start=True),
)  # fmt: skip


def flags_for(dtype: str) -> tuple[Flag, ...]:
    """The red flags of a model's precision.

    Args:
        dtype: `model.dtype`. In half precision, `bfloat16` or `float16`, a single log-probability of replay
            may be off by some tenths of a nat from rounding alone.

    Returns:
        `FLAGS`, with the limit of the replay gap that fits.
    """
    if dtype == "float32":
        return FLAGS
    return tuple(replace(flag, limit=0.5) if flag.figure == "replay_gap" else flag for flag in FLAGS)


@dataclass
class Watch:
    """How one flag stands.

    Attributes:
        seen: last optimiser step at which the figure was logged.
        since: first optimiser step that it is up for; None while it is not.
        told: whether its hint was given since then.
    """

    seen: int = 0
    since: int | None = None
    told: bool = False


class Watchman:
    """Gives the hint of a red flag once, when the flag has held long enough.

    A logged row stands for the optimiser steps since the row before, so that `steps` means the same at any
    `log.every`. A row without the flag's figure, such as one of validation, changes nothing.

    Args:
        steps: optimiser steps in a row for which a flag has to hold.
        flags: which flags.
    """

    def __init__(self, steps: int, flags: Sequence[Flag] = FLAGS) -> None:
        self.steps = steps
        self.flags = tuple(flags)
        self._watches = {flag.name: Watch() for flag in self.flags}
        self._starts: dict[str, list[float]] = {flag.figure: [] for flag in self.flags if flag.against_start}

    def look(self, row: Mapping[str, Any]) -> list[str]:
        """Look at a row of `metrics.jsonl`.

        Args:
            row: figures by name; `step` is the optimiser step.

        Returns:
            A sentence for each flag that has now held long enough; it comes again only after the flag was
            down in between.
        """
        hints = []
        for flag in self.flags:
            if flag.figure in row:
                hints += self._check(flag, float(row[flag.figure]), int(row["step"]))
        for figure, values in self._starts.items():
            if figure in row and len(values) < START_ROWS and isfinite(row[figure]):
                values.append(float(row[figure]))
        return hints

    def _check(self, flag: Flag, value: float, step: int) -> list[str]:
        watch = self._watches[flag.name]
        begun, watch.seen = watch.seen + 1, step
        if not self._up(flag, value):
            watch.since, watch.told = None, False
            return []
        if watch.since is None:
            watch.since = begun
        held = step - watch.since + 1
        if watch.told or held < self.steps:
            return []
        watch.told = True
        return [f"{flag.figure} has been {flag.condition} for {held} steps, now {value:.3g}: {flag.hint}"]

    def _up(self, flag: Flag, value: float) -> bool:
        if not flag.against_start:
            return flag.test(value)
        start = self._starts[flag.figure]
        mean = sum(start) / START_ROWS
        return len(start) == START_ROWS and mean > 0 and flag.test(value / mean)

    def since(self, name: str) -> int | None:
        """First optimiser step that a flag is up for without a break; None while it is down."""
        return self._watches[name].since

    def told(self, name: str) -> bool:
        """Whether a flag is up and its hint was given."""
        return self._watches[name].told

    def state(self) -> dict[str, Any]:
        """Give all that `look` remembers, as JSON values."""
        watches = {name: asdict(watch) for name, watch in self._watches.items()}
        return {"watches": watches, "starts": {figure: list(v) for figure, v in self._starts.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on as the watchman that gave this state; a flag that it did not know begins anew."""
        for name, watch in state["watches"].items():
            if name in self._watches:
                self._watches[name] = Watch(**watch)
        for figure, values in state["starts"].items():
            if figure in self._starts:
                self._starts[figure] = list(values)
